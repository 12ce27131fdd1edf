"""A service's rules as pure functions, and the events it subscribes to."""

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar, cast

from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.schedule import Change

State = TypeVar("State")
Command = TypeVar("Command")
Command_co = TypeVar("Command_co", covariant=True)
E = TypeVar("E", bound=Event)


class Decider(NamedTuple, Generic[State, Command]):
    """How one service decides. `State` is a frozen struct; each field maps ids to frozen entities."""

    initial: State
    decide: Callable[[State, Command], list[Event]]
    """The events that a command leads to; raises Rejected. Repeating a settled command gives []."""
    evolve: Callable[[State, RecordedEvent], State]
    """The state after an event: one of ours, or a consumed one that the state keeps something of."""


ScheduleRule = Callable[[State, RecordedEvent], Iterable[Change]]
"""What an event, ours or a consumed one, makes due or no longer due; the state is the one after it."""


class Subscription(NamedTuple, Generic[Command_co]):
    """A type of event that is consumed, and the command it leads to."""

    event_type: type[Event]
    command_for: Callable[[RecordedEvent], Command_co] | None


def on(
    event_type: type[E], command_for: Callable[[E], Command] | None = None
) -> Subscription[Command]:
    """React to `event_type` with the command that `command_for(event)` returns.

    Without a command, only `evolve` sees the event.
    """
    if command_for is None:
        return Subscription(event_type, None)
    make = cast("Callable[[Event], Command]", command_for)
    return Subscription(event_type, lambda recorded: make(recorded.event))


def on_recorded(
    event_type: type[Event], command_for: Callable[[RecordedEvent], Command]
) -> Subscription[Command]:
    """React to `event_type` with a command that needs the event's id, position or time."""
    return Subscription(event_type, command_for)


def no_tasks(_state: object, _recorded: RecordedEvent) -> tuple[Change, ...]:
    """The `schedule` of a service that has no tasks."""
    return ()
