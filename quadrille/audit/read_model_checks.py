"""Checks of the read API: up to the positions that it has applied, its database is the fold of the logs."""

from collections.abc import Iterator

import msgspec

from quadrille.audit.fold import Entities, FoldError, differences, fold
from quadrille.audit.read_model import READ, ReadSnapshot, place
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.tables import mismatch_of
from quadrille.audit.violation import Mismatch
from read_api.schemas import EventView, event_view
from read_api.store import PROJECTIONS
from shared.chassis.messages.recorded_event import RecordedEvent


def read_model(shop: ShopSnapshot) -> Iterator[Mismatch]:
    if shop.read is None:
        return
    dead_letter_ids = {letter.event_id for letter in shop.read.dead_letters}
    history = [
        recorded
        for recorded in _applied(shop, shop.read)
        if recorded.event_id not in dead_letter_ids
    ]
    for projection in PROJECTIONS:
        consumed = (row for row in history if isinstance(row.event, projection.consumes))
        try:
            expected = fold(projection.initial, projection.evolve, consumed)
        except FoldError as error:
            yield Mismatch(READ, "events", "events that the projections accept", error)
            return
        for difference in differences(expected, shop.read.models):
            yield mismatch_of(READ, difference)


def archive(shop: ShopSnapshot) -> Iterator[Mismatch]:
    if shop.read is None:
        return
    for service in shop.services:
        applied, last = shop.read.applied.get(service.name, 0), len(service.all_events)
        if applied > last:
            entity = f"position in the log of {service.name}"
            yield Mismatch(READ, entity, f"at most {last}", applied)
    expected: Entities = {
        place(recorded): _archived(recorded) for recorded in _applied(shop, shop.read)
    }
    for difference in differences({"events": expected}, {"events": shop.read.events}):
        yield mismatch_of(READ, difference)


def _applied(shop: ShopSnapshot, read: ReadSnapshot) -> Iterator[RecordedEvent]:
    for service in shop.services:
        for recorded in service.all_events:
            if recorded.position <= read.applied.get(service.name, 0):
                yield recorded


def _archived(recorded: RecordedEvent) -> EventView:
    """The event after its way through the archive's JSON."""
    data = msgspec.json.decode(msgspec.json.encode(recorded.event))
    return msgspec.structs.replace(event_view(recorded), data=data)
