"""What must hold of the read API: as far as it has read the logs, it is what they make of nothing."""

from collections.abc import Iterator

import msgspec

from quadrille.audit.fold import FoldError, differences, fold
from quadrille.audit.read_model import READ, place
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.tables import mismatch_of
from quadrille.audit.violation import Mismatch
from read_api.models import ReadModels
from read_api.projections import evolve
from read_api.schemas import EventView, event_view
from shared.chassis.messages.recorded_event import RecordedEvent


def views(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """Its rows are the fold of every log up to where it has read."""
    if shop.projection is None:
        return
    given_up = {letter.event_id for letter in shop.projection.dead_letters}
    history = (event for event in _read_by(shop) if event.event_id not in given_up)
    try:
        expected = fold(ReadModels(), evolve, history)
    except FoldError as error:
        yield Mismatch(READ, "events", "a history that can be told", error)
        return
    for difference in differences(expected, shop.projection.view):
        yield mismatch_of(READ, difference)


def copies(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """Its combined log is a copy of the others, without a hole."""
    if shop.projection is None:
        return
    for service in shop.services:
        applied = shop.projection.applied.get(service.name, 0)
        if applied > len(service.all_events):
            what = f"position in the log of {service.name}"
            yield Mismatch(READ, what, f"at most {len(service.all_events)}", applied)
    expected = {"events": {place(event): _as_read(event) for event in _read_by(shop)}}
    for difference in differences(expected, shop.projection):
        yield mismatch_of(READ, difference)


def _read_by(shop: ShopSnapshot) -> Iterator[RecordedEvent]:
    applied = shop.projection.applied if shop.projection else {}
    for service in shop.services:
        for event in service.all_events:
            if event.position <= applied.get(service.name, 0):
                yield event


def _as_read(recorded: RecordedEvent) -> EventView:
    document = event_view(recorded)
    data = msgspec.json.decode(msgspec.json.encode(recorded.event))
    return msgspec.structs.replace(document, data=data)
