"""The check that a service's tables are the fold of its events."""

from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import asdict

from quadrille.audit.fold import Difference, FoldError, differences, fold
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.snapshot import ServiceSnapshot
from quadrille.audit.violation import Mismatch
from shared.chassis.messages.recorded_event import RecordedEvent


def rows(shop: ShopSnapshot) -> Iterator[Mismatch]:
    for service in shop.services:
        initial, evolve = service.definition.initial, service.definition.evolve
        try:
            expected = fold(initial, evolve, history(shop, service))
        except FoldError as error:
            yield Mismatch(service.name, "event_log", "events that the rules accept", error)
            continue
        for difference in differences(expected, asdict(service.state)):
            yield mismatch_of(service.name, difference)


def history(shop: ShopSnapshot, service: ServiceSnapshot[Any]) -> Iterator[RecordedEvent]:
    """The events that the service has handled or published, in this order."""
    handled = (
        (service.inbox.get(recorded.event_id, recorded.recorded_at), 0, recorded)
        for recorded in shop.handled_by(service)
    )
    # The events that a unit of work records have the time of its inbox rows, and follow from them.
    published = ((recorded.recorded_at, 1, recorded) for recorded in service.events)
    for _, _, recorded in merge(handled, published, key=itemgetter(0, 1)):
        yield recorded


def mismatch_of(service: str, difference: Difference) -> Mismatch:
    """Only the fields that differ, if the entity exists in both states."""
    field, entity_id, expected, actual = difference
    entity = f"{field} {entity_id}"
    if not isinstance(expected, Struct) or type(expected) is not type(actual):
        return Mismatch(service, entity, _existence(expected), _existence(actual))
    names = [name for name, value in asdict(expected).items() if value != getattr(actual, name)]
    return Mismatch(service, entity, _values(expected, names), _values(actual, names))


def _values(entity: Struct, names: list[str]) -> str:
    values = to_builtins({name: getattr(entity, name) for name in names})
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _existence(entity: object) -> str:
    return "exists" if entity else "does not exist"
