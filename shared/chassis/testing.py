"""For tests of services: given events, when a command is executed, then these events follow; and a service in memory.

given(DECIDER, OrderCreated(...)).when(ConfirmOrder(...)).then(OrderConfirmed(...))
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Generic, NamedTuple, TypeVar

import msgspec

from shared.chassis.engine.nudge import nudged_entities
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.engine.unit_of_work import CommandEnvelope, UnitOfWork
from shared.chassis.messages import clock
from shared.chassis.messages.decider import Decider
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.schedule import Schedule

State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")

START = datetime(2026, 11, 20, 9, tzinfo=UTC)

_numbers = count(1)


def recorded(
    event: Event, *, position: int | None = None, source: str | None = None
) -> RecordedEvent:
    """The event as its publisher would record it; each is a second and a position after the previous one."""
    number = next(_numbers)
    return RecordedEvent(
        event_id=clock.new_id(),
        source=source or event.SOURCE or "unknown",
        position=number if position is None else position,
        event=event,
        recorded_at=START + timedelta(seconds=number),
        correlation_id=event.entity_id,
    )


def given(decider: Decider[State, Command], *events: Event) -> "Given[State, Command]":
    """The state after these events, own and consumed ones."""
    state = decider.initial
    for event in events:
        state = decider.evolve(state, recorded(event))
    return Given(decider, state)


class Given(NamedTuple, Generic[State, Command]):
    """A decider and a state."""

    decider: Decider[State, Command]
    state: State

    def when(self, command: Command) -> "Decision":
        """Decide the command."""
        try:
            return Decision(tuple(self.decider.decide(self.state, command)), None)
        except Rejected as rejected:
            return Decision((), rejected)


class Decision(NamedTuple):
    """What a command leads to."""

    events: tuple[Event, ...]
    rejected: Rejected | None

    def then(self, *events: Event) -> None:
        """Exactly these events, none for a command that changes nothing. Raises AssertionError."""
        if self.rejected:
            raise AssertionError(f"rejected: {self.rejected.code}: {self.rejected.detail}")
        if self.events != events:
            raise AssertionError(f"expected {events}, not {self.events}")

    def then_rejected(self, code: str) -> Rejected:
        """A rejection with this code, which is returned. Raises AssertionError."""
        if self.rejected is None:
            raise AssertionError(f"not rejected: {self.events}")
        if self.rejected.code != code:
            raise AssertionError(f"expected {code}, not {self.rejected.code}")
        return self.rejected


class TaskKey(NamedTuple):
    """What identifies a task of a service."""

    kind: str
    key: str


class InMemoryService(Generic[State, Command]):
    """A service without database and broker: consumes and executes as its writer would, with its whole state at hand."""

    def __init__(self, source: str, logic: ServiceLogic[State, Command]) -> None:
        self.source = source
        self.state = logic.decider.initial
        self.log: list[RecordedEvent] = []
        self.tasks: dict[TaskKey, Schedule] = {}
        """What is scheduled; running it is up to the test."""
        self._logic = logic
        self._event_types = {subscription.event_type for subscription in logic.subscriptions}
        self._processed: set[str] = set()

    def consumes(self, event: RecordedEvent) -> bool:
        return type(event.event) in self._event_types

    def handle(self, event: RecordedEvent) -> list[RecordedEvent]:
        """Handle a consumed event once; returns the events that it publishes. Raises RuleFailed."""
        if event.event_id in self._processed:
            return []
        self._processed.add(event.event_id)
        work = self._unit_of_work()
        command = self._logic.commands_for([event]).get(event.event_id)
        if isinstance(command, Exception):
            raise command
        work.handle(event, command)
        return self._keep(work) + self._repeated([event])

    def execute(self, command: Command) -> list[RecordedEvent]:
        """Execute a command; returns the events that it publishes. Raises Rejected or RuleFailed."""
        work = self._unit_of_work()
        answer = work.execute(CommandEnvelope(command))
        if isinstance(answer, Rejected):
            raise answer
        events = self._keep(work)
        return events + self._repeated(events)

    def _unit_of_work(self) -> UnitOfWork[State, Command]:
        position = len(self.log)
        return UnitOfWork(self.source, self._logic, self.state, position, clock.now())

    def _repeated(self, events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
        """What is published again because one of these events is a nudge."""
        entity_ids = nudged_entities(self._logic.nudges, events)
        published = (recorded for recorded in self.log if recorded not in events)
        return [recorded for recorded in published if recorded.entity_id in entity_ids]

    def _keep(self, work: UnitOfWork[State, Command]) -> list[RecordedEvent]:
        self.state = work.state
        self.log += work.events
        for change, _ in work.changes:
            task = TaskKey(change.kind, change.key)
            if isinstance(change, Schedule) and change.only_if_missing:
                self.tasks.setdefault(task, change)
            elif isinstance(change, Schedule):
                self.tasks[task] = change
            else:
                self.tasks.pop(task, None)
        return work.events
