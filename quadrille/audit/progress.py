"""The check that nothing waits for longer than its deadline while the shop runs."""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from quadrille.audit.read_model import READ, HeldEvent, ReadSnapshot
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.snapshot import LogRow, ServiceSnapshot, TaskRow
from quadrille.audit.violation import Mismatch
from shared.chassis.messages.recorded_event import RecordedEvent


def progress(shop: ShopSnapshot) -> Iterator[Mismatch]:
    for service in shop.services:
        yield from _events(shop, service.name, "published", stuck_unpublished(shop, service))
        yield from _events(shop, service.name, "handled", stuck_unhandled(shop, service))
        yield from _tasks(shop, service, stuck_tasks(shop, service))
    if shop.read:
        yield from _events(shop, READ, "applied", stuck_unapplied(shop, shop.read))
        yield from _held(stuck_held(shop, shop.read))


def stuck_unpublished(shop: ShopSnapshot, service: ServiceSnapshot[Any]) -> list[RecordedEvent]:
    """Events that are being published again are not meant: since when they wait is not recorded."""
    seconds = shop.deadlines.publish_seconds
    unpublished = (row.recorded for row in service.log if _is_unpublished(row))
    return [event for event in unpublished if _age(shop, event.recorded_at) > seconds]


def stuck_unhandled(shop: ShopSnapshot, service: ServiceSnapshot[Any]) -> list[RecordedEvent]:
    seconds = shop.deadlines.handle_seconds
    return [
        event for event in shop.unhandled_by(service) if _age(shop, event.recorded_at) > seconds
    ]


def stuck_tasks(shop: ShopSnapshot, service: ServiceSnapshot[Any]) -> list[TaskRow]:
    """A failed attempt moves the due time: these were not even tried."""
    seconds = shop.deadlines.task_seconds
    return [task for task in service.tasks if _age(shop, task.due_at) > seconds]


def stuck_unapplied(shop: ShopSnapshot, read: ReadSnapshot) -> list[RecordedEvent]:
    """Events that the read API's tables do not contain: they have not arrived, or an earlier one is missing."""
    seconds = shop.deadlines.handle_seconds
    return [event for event in unapplied(shop, read) if _age(shop, event.recorded_at) > seconds]


def unapplied(shop: ShopSnapshot, read: ReadSnapshot) -> Iterator[RecordedEvent]:
    for event in shop.events_by_id.values():
        if event.position > read.applied.get(event.source, 0):
            yield event


def stuck_held(shop: ShopSnapshot, read: ReadSnapshot) -> list[HeldEvent]:
    """Events that will never be applied: another one was applied at their position, or they are in no log."""
    seconds = shop.deadlines.handle_seconds
    return [
        held
        for held in read.held
        if not _is_waiting(shop, read, held) and _age(shop, held.recorded_at) > seconds
    ]


def _is_unpublished(row: LogRow) -> bool:
    return not row.is_published and row.refusal is None and not row.is_resent


def _is_waiting(shop: ShopSnapshot, read: ReadSnapshot, held: HeldEvent) -> bool:
    recorded = shop.events_by_id.get(held.event_id)
    is_genuine = recorded is not None and recorded.position == held.position
    return is_genuine and held.position > read.applied.get(held.source, 0)


def _events(
    shop: ShopSnapshot, service: str, verb: str, events: Sequence[RecordedEvent]
) -> Iterator[Mismatch]:
    by_source: dict[str, list[RecordedEvent]] = {}
    for event in events:
        by_source.setdefault(event.source, []).append(event)
    for source, late in by_source.items():
        oldest = min(late, key=lambda event: event.recorded_at)
        what = f"{len(late)} events of {source}" if len(late) > 1 else f"an event of {source}"
        first = f"{oldest.event_type} at position {oldest.position}"
        waiting = f"{first} waits for {_age(shop, oldest.recorded_at):.0f} s"
        yield Mismatch(service, what, f"{verb} within {_limit(shop, verb):.0f} s", waiting)


def _limit(shop: ShopSnapshot, verb: str) -> float:
    deadlines = shop.deadlines
    return deadlines.publish_seconds if verb == "published" else deadlines.handle_seconds


def _tasks(
    shop: ShopSnapshot, service: ServiceSnapshot[Any], tasks: Iterable[TaskRow]
) -> Iterator[Mismatch]:
    for task in tasks:
        late = f"{_age(shop, task.due_at):.0f} s overdue"
        error = f", last error: {task.last_error}" if task.last_error else ""
        yield Mismatch(
            service.name, f"{task.kind} task {task.task_key}", "executed when due", late + error
        )


def _held(events: Iterable[HeldEvent]) -> Iterator[Mismatch]:
    for held in events:
        entity = f"event {held.event_id} at {held.source} {held.position}"
        yield Mismatch(READ, entity, "applied, or removed with quadrille forget", "held")


def _age(shop: ShopSnapshot, moment: datetime | None) -> float:
    return (shop.now - moment).total_seconds() if moment else math.inf
