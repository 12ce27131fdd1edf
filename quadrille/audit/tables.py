"""What must hold of the tables: they are what the events make of nothing."""

from collections.abc import Iterator
from heapq import merge
from operator import itemgetter

from msgspec import Struct, to_builtins

from quadrille.audit.databases import Shop
from quadrille.audit.fold import Difference, FoldError, differences, fold
from quadrille.audit.snapshot import ServiceSnapshot
from quadrille.audit.violation import Evidence
from shared.chassis.messages.recorded_event import RecordedEvent


def rows(shop: Shop) -> Iterator[Evidence]:
    """A service's tables are what its log, and what it heard, make of nothing."""
    for ledger in shop.ledgers:
        try:
            expected = fold(ledger.service.nothing, ledger.service.evolve, history(shop, ledger))
        except FoldError as error:
            yield Evidence(ledger.name, "event_log", "a history that can be told", error)
            continue
        for difference in differences(expected, ledger.state):
            yield evidence_of(ledger.name, difference)


def history(shop: Shop, ledger: ServiceSnapshot) -> Iterator[RecordedEvent]:
    """What the service said and heard, as it came."""
    heard = (
        (ledger.inbox.get(event.event_id, event.recorded_at), 0, event)
        for event in shop.heard(ledger)
    )
    own = ((event.recorded_at, 1, event) for event in ledger.events)
    for _, _, event in merge(heard, own, key=itemgetter(0, 1)):
        yield event


def evidence_of(service: str, difference: Difference) -> Evidence:
    """Of two versions of an entity, only the fields that differ."""
    part, entity, expected, found = difference
    what = f"{part} {entity}"
    if not isinstance(expected, Struct) or type(expected) is not type(found):
        return Evidence(service, what, _presence(expected), _presence(found))
    fields = [
        name
        for name in expected.__struct_fields__
        if getattr(expected, name) != getattr(found, name)
    ]
    return Evidence(service, what, _shown(expected, fields), _shown(found, fields))


def _shown(entity: Struct, fields: list[str]) -> str:
    values = to_builtins({name: getattr(entity, name) for name in fields})
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _presence(entity: object) -> str:
    return "there" if entity else "not there"
