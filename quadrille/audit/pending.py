"""What is no violation, but worth knowing: work that is pending, and warnings for the operator."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from quadrille.audit import progress
from quadrille.audit.read_model import READ, ReadSnapshot
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.snapshot import DeadLetterRow, ServiceSnapshot
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.dead_letters import Status

OVERDUE_SECONDS = 60


class Pending(Struct, frozen=True, rename="camel"):
    """Work that a service does as soon as it can."""

    service: str
    what: str
    count: int = field(name="howMany")
    since: datetime
    """When the oldest event was recorded, or the first task is due."""


class AuditWarning(Struct, frozen=True):
    """Something that an operator should look at."""

    service: str
    entity: str
    what: str


def find_pending(shop: ShopSnapshot) -> Iterator[Pending]:
    """Events that are not published or not handled, and tasks."""
    for service in shop.services:
        unpublished = [
            row.recorded for row in service.log if not row.is_published and row.refusal is None
        ]
        yield from _pending_events(service.name, "publish", unpublished)
        yield from _pending_events(service.name, "handle", list(shop.unhandled_by(service)))
        for kind in sorted({task.kind for task in service.tasks}):
            due = [task.due_at for task in service.tasks if task.kind == kind]
            yield Pending(service.name, f"{kind} tasks", len(due), min(due))
    if shop.read:
        yield from _pending_events(READ, "handle", list(progress.unapplied(shop, shop.read)))


def _pending_events(service: str, verb: str, events: Sequence[RecordedEvent]) -> Iterator[Pending]:
    if events:
        oldest = min(event.recorded_at for event in events)
        yield Pending(service, f"events to {verb}", len(events), oldest)


def find_warnings(shop: ShopSnapshot) -> Iterator[AuditWarning]:
    """Dead letters, events that the broker refuses, diverging events, and overdue tasks."""
    if shop.read is None:
        yield AuditWarning(READ, f"{READ}.db", "does not exist; it is rebuilt from the stream")
    else:
        yield from _dead_letters(READ, shop.read.dead_letters)
        yield from _diverging(shop, shop.read)
    for service in shop.services:
        yield from _dead_letters(service.name, service.dead_letters)
        yield from _refused(service)
        yield from _overdue(service, shop)


def _dead_letters(service: str, letters: Sequence[DeadLetterRow]) -> Iterator[AuditWarning]:
    for letter in letters:
        if letter.status == Status.DISCARDED:  # somebody has decided about it
            continue
        what = f"{letter.event_type or 'a message'} is a dead letter ({letter.status})"
        yield AuditWarning(service, letter.entity_id or letter.event_id, f"{what}: {letter.error}")


def _diverging(shop: ShopSnapshot, read: ReadSnapshot) -> Iterator[AuditWarning]:
    """The held events at a position where another event was applied, or that are in no log."""
    for held in read.held:
        recorded = shop.events_by_id.get(held.event_id)
        is_genuine = recorded is not None and (recorded.source, recorded.position) == (
            held.source,
            held.position,
        )
        event = f"event {held.event_id} ({'in' if is_genuine else 'not in'} the log) is held"
        position = f"{held.source} {held.position}"
        if held.position <= read.applied.get(held.source, 0):
            what = f"{event}; another was applied at its position"
            yield AuditWarning(READ, position, what)
        elif not is_genuine:
            yield AuditWarning(READ, position, event)


def _refused(service: ServiceSnapshot[Any]) -> Iterator[AuditWarning]:
    for row in service.log:
        if row.refusal:
            event = f"{row.recorded.event_type} of {row.entity_id}"
            what = f"the broker refuses {event}: {row.refusal}"
            yield AuditWarning(service.name, f"event {row.recorded.position}", what)


def _overdue(service: ServiceSnapshot[Any], shop: ShopSnapshot) -> Iterator[AuditWarning]:
    """Those that are no violation yet."""
    for task in service.tasks:
        late = (shop.now - task.due_at).total_seconds()
        if OVERDUE_SECONDS < late <= shop.deadlines.task_seconds:
            error = f", last error: {task.last_error}" if task.last_error else ""
            what = f"its {task.kind} task is {late:.0f} s overdue{error}"
            yield AuditWarning(service.name, task.task_key, what)
