"""What must hold of the tables: they are what the events make of nothing."""

from collections.abc import Iterator
from heapq import merge
from operator import itemgetter

from msgspec import Struct, to_builtins

from quadrille.audit.fold import Difference, FoldError, differences, fold
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.snapshot import ServiceSnapshot
from quadrille.audit.violation import Mismatch
from shared.chassis.messages.recorded_event import RecordedEvent


def rows(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """A service's tables are what its log, and what it heard, make of nothing."""
    for service in shop.services:
        try:
            expected = fold(
                service.definition.nothing, service.definition.evolve, history(shop, service)
            )
        except FoldError as error:
            yield Mismatch(service.name, "event_log", "a history that can be told", error)
            continue
        for difference in differences(expected, service.state):
            yield mismatch_of(service.name, difference)


def history(shop: ShopSnapshot, service: ServiceSnapshot) -> Iterator[RecordedEvent]:
    """What the service said and heard, as it came."""
    heard = (
        (service.inbox.get(event.event_id, event.recorded_at), 0, event)
        for event in shop.received(service)
    )
    own = ((event.recorded_at, 1, event) for event in service.events)
    for _, _, event in merge(heard, own, key=itemgetter(0, 1)):
        yield event


def mismatch_of(service: str, difference: Difference) -> Mismatch:
    """Of two versions of an entity, only the fields that differ."""
    part, entity, expected, found = difference
    what = f"{part} {entity}"
    if not isinstance(expected, Struct) or type(expected) is not type(found):
        return Mismatch(service, what, _presence(expected), _presence(found))
    fields = [
        name
        for name in expected.__struct_fields__
        if getattr(expected, name) != getattr(found, name)
    ]
    return Mismatch(service, what, _shown(expected, fields), _shown(found, fields))


def _shown(entity: Struct, fields: list[str]) -> str:
    values = to_builtins({name: getattr(entity, name) for name in fields})
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _presence(entity: object) -> str:
    return "there" if entity else "not there"
