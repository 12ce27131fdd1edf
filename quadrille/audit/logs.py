"""What must hold of the logs: no holes, nobody's words in another's mouth, a cause for every effect."""

from collections import Counter
from collections.abc import Iterator

from quadrille.audit.databases import Shop
from quadrille.audit.violation import Evidence
from shared.contracts import PUBLISHERS


def positions(shop: Shop) -> Iterator[Evidence]:
    """A log has no holes."""
    for ledger in shop.ledgers:
        expected = 1
        for recorded in ledger.events:
            if recorded.position != expected:
                yield Evidence(ledger.name, "event_log", f"position {expected}", recorded.position)
            expected = recorded.position + 1


def versions(shop: Shop) -> Iterator[Evidence]:
    """Nor has an entity's history."""
    for ledger in shop.ledgers:
        last: Counter[str] = Counter()
        for entry in ledger.log:
            expected = last[entry.entity_id] + 1
            if entry.version != expected:
                yield Evidence(ledger.name, entry.entity_id, f"version {expected}", entry.version)
            last[entry.entity_id] = entry.version


def words(shop: Shop) -> Iterator[Evidence]:
    """Every event is its own emitter's, about the entity it is filed under, and has an id of its own."""
    filed: set[str] = set()
    for ledger in shop.ledgers:
        for recorded, entity_id, *_ in ledger.log:
            place = f"position {recorded.position}"
            emitter = PUBLISHERS.get(type(recorded.event), ledger.name)
            if emitter != ledger.name:
                yield Evidence(ledger.name, place, f"no {recorded.event_type}", f"one, {emitter}'s")
            if entity_id != recorded.key:
                yield Evidence(ledger.name, place, f"entity {recorded.key}", entity_id)
            if recorded.event_id in filed:
                yield Evidence(ledger.name, place, "a new event id", recorded.event_id)
            filed.add(recorded.event_id)


def causes(shop: Shop) -> Iterator[Evidence]:
    """What made an event is in some log, was heard where it came from there, and is of the same story."""
    for ledger in shop.ledgers:
        for recorded in ledger.events:
            if recorded.causation_id is None:
                continue
            what = f"{recorded.event_type} of {recorded.key}"
            cause = shop.said.get(recorded.causation_id)
            if cause is None:
                yield Evidence(
                    ledger.name, what, f"its cause {recorded.causation_id}", "nobody said it"
                )
                continue
            if cause.correlation_id != recorded.correlation_id:
                yield Evidence(
                    ledger.name, what, f"story {cause.correlation_id}", recorded.correlation_id
                )
            if cause.source != ledger.name and not shop.has_heard(ledger, cause):
                heard = f"its cause {cause.event_type} ({cause.event_id}) in the inbox"
                yield Evidence(ledger.name, what, heard, "not there")


def inbox_orphans(shop: Shop) -> Iterator[Evidence]:
    """What was heard, somebody said; rubbish, which has no id, was kept."""
    for ledger in shop.ledgers:
        kept = {letter.event_id for letter in ledger.dead_letters}
        for event_id in ledger.inbox:
            if event_id not in shop.said and event_id not in kept:
                yield Evidence(ledger.name, f"event {event_id}", "in some log", "nobody said it")
