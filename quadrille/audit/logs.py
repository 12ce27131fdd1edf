"""Checks of the event logs: no gaps, every event in its publisher's log, and with a recorded cause."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.snapshot import ServiceSnapshot
from quadrille.audit.violation import Mismatch
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import CATALOG

NOT_RECORDED = "in no log"


def positions(shop: ShopSnapshot) -> Iterator[Mismatch]:
    for service in shop.services:
        expected = 1
        for recorded in service.events:
            if recorded.position != expected:
                yield Mismatch(service.name, "event_log", f"position {expected}", recorded.position)
            expected = recorded.position + 1


def versions(shop: ShopSnapshot) -> Iterator[Mismatch]:
    for service in shop.services:
        last: Counter[str] = Counter()
        for row in service.log:
            expected = last[row.entity_id] + 1
            if row.version != expected:
                yield Mismatch(service.name, row.entity_id, f"version {expected}", row.version)
            last[row.entity_id] = row.version


def ownership(shop: ShopSnapshot) -> Iterator[Mismatch]:
    event_ids: set[str] = set()
    for service in shop.services:
        for recorded, entity_id, *_ in service.log:
            position = f"position {recorded.position}"
            # An event that every service may publish is in no table of publishers.
            publisher = CATALOG.publisher_of(type(recorded.event)) or service.name
            if publisher != service.name:
                event_type = recorded.event_type
                yield Mismatch(service.name, position, f"{event_type} in {publisher}'s log", "here")
            if entity_id != recorded.event.entity_id:
                expected = f"entity {recorded.event.entity_id}"
                yield Mismatch(service.name, position, expected, entity_id)
            if recorded.event_id in event_ids:
                yield Mismatch(service.name, position, "a unique event id", recorded.event_id)
            event_ids.add(recorded.event_id)


def causes(shop: ShopSnapshot) -> Iterator[Mismatch]:
    for service in shop.services:
        for recorded in service.events:
            if recorded.causation_id is not None:
                yield from _cause(shop, service, recorded, recorded.causation_id)


def _cause(
    shop: ShopSnapshot, service: ServiceSnapshot[Any], recorded: RecordedEvent, cause_id: str
) -> Iterator[Mismatch]:
    """Whether the cause of an event is recorded, of the same saga, and handled if it is another service's."""
    event = f"{recorded.event_type} of {recorded.event.entity_id}"
    cause = shop.events_by_id.get(cause_id)
    if cause is None:
        yield Mismatch(service.name, event, f"its cause {cause_id}", NOT_RECORDED)
        return
    if cause.correlation_id != recorded.correlation_id:
        expected = f"correlation id {cause.correlation_id}"
        yield Mismatch(service.name, event, expected, recorded.correlation_id)
    if cause.source != service.name and not shop.has_handled(service, cause):
        expected = f"its cause {cause.event_type} ({cause_id}) in the inbox"
        yield Mismatch(service.name, event, expected, "not there")


def inbox_orphans(shop: ShopSnapshot) -> Iterator[Mismatch]:
    for service in shop.services:
        # A malformed message has an id only as a dead letter.
        dead_letter_ids = {letter.event_id for letter in service.dead_letters}
        for event_id in service.inbox:
            if event_id not in shop.events_by_id and event_id not in dead_letter_ids:
                yield Mismatch(service.name, f"event {event_id}", "in a log", NOT_RECORDED)
