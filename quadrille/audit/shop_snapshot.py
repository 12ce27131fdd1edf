"""The whole shop as its database files tell it, and what of it is still on its way."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from msgspec import Struct, field

from quadrille.audit.read_model import READ, Projection, read_projection
from quadrille.audit.snapshot import (
    DEFINITIONS,
    CorruptDatabase,
    DeadLetter,
    ServiceSnapshot,
    read_snapshot,
    with_tail,
)
from shared.chassis.messages import clock
from shared.chassis.messages.recorded_event import RecordedEvent

OVERDUE_SECONDS = 60
SAGA = ("order", "inventory", "shipping")
"""Those whose word an order's outcome depends on."""


class UnreadableShop(Exception):
    """Some databases can not be read: service → why."""

    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__("; ".join(faults.values()))
        self.faults = faults


class Pending(Struct, frozen=True, rename="camel"):
    """Something unfinished that will, or should, go on by itself."""

    service: str
    what: str
    count: int = field(name="howMany")
    since: datetime
    """When the oldest event was recorded; for tasks, when the first is due."""


class AuditWarning(Struct, frozen=True):
    """Nothing that contradicts anything, but something a person should look at."""

    service: str
    entity: str
    what: str


class ShopSnapshot:
    """The services of all deciding services, and what follows from them together."""

    def __init__(
        self,
        services: Sequence[ServiceSnapshot],
        projection: Projection | None,
        now: datetime,
        inbox_retention_days: int = 0,
    ) -> None:
        self.services = services
        self.projection = projection
        """None where the read API has no database; it makes itself a new one."""
        self._by_name = {service.name: service for service in services}
        self._now = now
        self._forgotten_before = (
            now - timedelta(days=inbox_retention_days) if inbox_retention_days else None
        )

    def service(self, name: str) -> ServiceSnapshot:
        """The service of one service."""
        return self._by_name[name]

    @cached_property
    def events_by_id(self) -> dict[str, RecordedEvent]:
        """Every event of every log, by its id."""
        return {
            recorded.event_id: recorded
            for service in self.services
            for recorded in service.all_events
        }

    @cached_property
    def moving(self) -> set[str]:
        """The orders of which something is unheard, undone, given up, or was said while we read."""
        moving: set[str] = set()
        for service in map(self.service, SAGA):
            moving.update(recorded.key for recorded in self.unreceived(service))
            moving.update(recorded.key for recorded in service.tail)
            moving.update(letter.key for letter in service.dead_letters if letter.key)
            if (
                service.name != "order"
            ):  # whose only tasks are deadlines, and watch what stands still
                moving.update(task.correlation_id for task in service.tasks)
        return moving

    def received(self, service: ServiceSnapshot) -> Iterator[RecordedEvent]:
        """What this service has heard and not given up, in the order of hearing."""
        given_up = {letter.event_id for letter in service.dead_letters}
        for recorded in self.events_by_id.values():
            if self._is_forgotten(service, recorded) and recorded.event_id not in given_up:
                yield recorded
        for event_id in service.inbox:
            if event_id in self.events_by_id and event_id not in given_up:
                yield self.events_by_id[event_id]

    def has_received(self, service: ServiceSnapshot, recorded: RecordedEvent) -> bool:
        """Whether its inbox says so, or has said so long ago."""
        return recorded.event_id in service.inbox or self._is_forgotten(service, recorded)

    def unreceived(self, service: ServiceSnapshot) -> Iterator[RecordedEvent]:
        """What others have said to this service, and it has not heard."""
        for recorded in self.events_by_id.values():
            if isinstance(recorded.event, service.definition.consumes) and not self.has_received(
                service, recorded
            ):
                yield recorded

    def pending(self) -> Iterator[Pending]:
        """What is unsent, unheard, or due later."""
        for service in self.services:
            unsent = [
                entry.recorded
                for entry in service.log
                if not entry.is_sent and entry.refusal is None
            ]
            yield from _waiting(service.name, "to send", unsent)
            yield from _waiting(service.name, "to hear", list(self.unreceived(service)))
            for kind in sorted({task.kind for task in service.tasks}):
                due = [task.due_at for task in service.tasks if task.kind == kind]
                yield Pending(service.name, f"{kind} tasks", len(due), min(due))
        if self.projection:
            applied = self.projection.applied
            unread = [
                event
                for event in self.events_by_id.values()
                if event.position > applied.get(event.source, 0)
            ]
            yield from _waiting(READ, "to hear", unread)

    def warnings(self) -> Iterator[AuditWarning]:
        """What was given up, and what should have been done by now."""
        if self.projection is None:
            yield AuditWarning(
                READ, f"{READ}.db", "does not exist; it will be built from the stream"
            )
        else:
            yield from _given_up(READ, self.projection.dead_letters)
            yield from self._diverging(self.projection)
        for service in self.services:
            yield from _given_up(service.name, service.dead_letters)
            yield from _refused(service)
            for task in service.tasks:
                late = (self._now - task.due_at).total_seconds()
                if late > OVERDUE_SECONDS:
                    error = f", last error: {task.last_error}" if task.last_error else ""
                    what = f"its {task.kind} is {late:.0f} s overdue{error}"
                    yield AuditWarning(service.name, task.key, what)

    def _diverging(self, projection: Projection) -> Iterator[AuditWarning]:
        """The held events that claim an applied position, or are not in their service's log."""
        for event in projection.held:
            known = self.events_by_id.get(event.event_id)
            is_own = known and (known.source, known.position) == (event.source, event.position)
            if event.position <= projection.applied.get(event.source, 0):
                what = "is held; another was applied at its position"
            elif not is_own:
                what = "is held"
            else:
                continue
            which = "the log's own" if is_own else "not in the log"
            place = f"{event.source} {event.position}"
            yield AuditWarning(READ, place, f"event {event.event_id} ({which}) {what}")

    def _is_forgotten(self, service: ServiceSnapshot, recorded: RecordedEvent) -> bool:
        """Whether it is something to hear, and too old to be in the inbox still."""
        return bool(
            self._forgotten_before
            and recorded.recorded_at < self._forgotten_before
            and isinstance(recorded.event, service.definition.consumes)
            and recorded.event_id not in service.inbox
        )


def read_shop(data_dir: Path, inbox_retention_days: int = 0) -> ShopSnapshot:
    """Every service's file in `data_dir`. Raises UnreadableShop."""
    if not any(_path(data_dir, service.name).exists() for service in DEFINITIONS):
        raise UnreadableShop({"": f"{data_dir} holds no databases of a shop"})
    faults: dict[str, str] = {}
    services: list[ServiceSnapshot] = []
    for service in DEFINITIONS:
        try:
            services.append(read_snapshot(service, _path(data_dir, service.name)))
        except CorruptDatabase as damaged:
            faults[service.name] = str(damaged)
    projection = None
    if _path(data_dir, READ).exists():
        try:
            projection = read_projection(_path(data_dir, READ))
        except CorruptDatabase as damaged:
            faults[READ] = str(damaged)
    if faults:
        raise UnreadableShop(faults)
    try:
        services = [with_tail(service, _path(data_dir, service.name)) for service in services]
    except CorruptDatabase as damaged:
        raise UnreadableShop({"": str(damaged)}) from damaged
    return ShopSnapshot(services, projection, clock.now(), inbox_retention_days)


def _path(data_dir: Path, service: str) -> Path:
    return data_dir / f"{service}.db"


def _waiting(service: str, what: str, events: Sequence[RecordedEvent]) -> Iterator[Pending]:
    if events:
        oldest = min(event.recorded_at for event in events)
        yield Pending(service, f"events {what}", len(events), oldest)


def _refused(service: ServiceSnapshot) -> Iterator[AuditWarning]:
    for recorded, _, _, _, refusal in service.log:
        if refusal:
            what = f"the broker refuses {recorded.event_type} of {recorded.key}: {refusal}"
            yield AuditWarning(service.name, f"event {recorded.position}", what)


def _given_up(service: str, letters: Sequence[DeadLetter]) -> Iterator[AuditWarning]:
    for letter in letters:
        what = f"{letter.event_type or 'a message'} is a dead letter ({letter.status})"
        yield AuditWarning(service, letter.key or letter.event_id, f"{what}: {letter.error}")
