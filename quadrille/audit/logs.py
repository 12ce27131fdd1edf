"""What must hold of the logs: no holes, nobody's words in another's mouth, a cause for every effect."""

from collections import Counter
from collections.abc import Iterator

from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.violation import Mismatch
from shared.contracts import PUBLISHERS


def positions(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """A log has no holes."""
    for service in shop.services:
        expected = 1
        for recorded in service.events:
            if recorded.position != expected:
                yield Mismatch(service.name, "event_log", f"position {expected}", recorded.position)
            expected = recorded.position + 1


def versions(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """Nor has an entity's history."""
    for service in shop.services:
        last: Counter[str] = Counter()
        for entry in service.log:
            expected = last[entry.entity_id] + 1
            if entry.version != expected:
                yield Mismatch(service.name, entry.entity_id, f"version {expected}", entry.version)
            last[entry.entity_id] = entry.version


def words(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """Every event is its own emitter's, about the entity it is filed under, and has an id of its own."""
    filed: set[str] = set()
    for service in shop.services:
        for recorded, entity_id, *_ in service.log:
            place = f"position {recorded.position}"
            emitter = PUBLISHERS.get(type(recorded.event), service.name)
            if emitter != service.name:
                yield Mismatch(
                    service.name, place, f"no {recorded.event_type}", f"one, {emitter}'s"
                )
            if entity_id != recorded.key:
                yield Mismatch(service.name, place, f"entity {recorded.key}", entity_id)
            if recorded.event_id in filed:
                yield Mismatch(service.name, place, "a new event id", recorded.event_id)
            filed.add(recorded.event_id)


def causes(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """What made an event is in some log, was heard where it came from there, and is of the same story."""
    for service in shop.services:
        for recorded in service.events:
            if recorded.causation_id is None:
                continue
            what = f"{recorded.event_type} of {recorded.key}"
            cause = shop.events_by_id.get(recorded.causation_id)
            if cause is None:
                yield Mismatch(
                    service.name, what, f"its cause {recorded.causation_id}", "nobody said it"
                )
                continue
            if cause.correlation_id != recorded.correlation_id:
                yield Mismatch(
                    service.name, what, f"story {cause.correlation_id}", recorded.correlation_id
                )
            if cause.source != service.name and not shop.has_received(service, cause):
                heard = f"its cause {cause.event_type} ({cause.event_id}) in the inbox"
                yield Mismatch(service.name, what, heard, "not there")


def inbox_orphans(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """What was heard, somebody said; rubbish, which has no id, was kept."""
    for service in shop.services:
        kept = {letter.event_id for letter in service.dead_letters}
        for event_id in service.inbox:
            if event_id not in shop.events_by_id and event_id not in kept:
                yield Mismatch(service.name, f"event {event_id}", "in some log", "nobody said it")
