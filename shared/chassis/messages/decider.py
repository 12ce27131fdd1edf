"""A service's rules as pure functions: what its writer needs to know of it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection

from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.schedule import Change
from shared.contracts import Event

State = TypeVar("State")
Command = TypeVar("Command")


class Subscription(NamedTuple):
    """A kind of event heard, and the command it makes of itself."""

    event_type: type[Event]
    command_for: Callable[[RecordedEvent], Any] | None


def on(event_type: type[Event], command_for: Callable[[Any], Any] | None = None) -> Subscription:
    """React to `event_type` with the command that `command_for(event)` returns.

    Without a command, the event is only remembered: `evolve` sees it.
    """
    if command_for is None:
        return Subscription(event_type, None)
    return Subscription(event_type, lambda heard: command_for(heard.event))


def on_recorded(
    event_type: type[Event], command_for: Callable[[RecordedEvent], Any]
) -> Subscription:
    """React to `event_type` with a command that needs to know which event it was."""
    return Subscription(event_type, command_for)


class Decider(NamedTuple, Generic[State, Command]):
    """How one service decides. `State` is frozen and holds what a batch of commands touches."""

    load: Callable[[Connection, Sequence[Command], Sequence[RecordedEvent]], State]
    """Read what these commands and heard events touch, in a few SELECT … IN."""
    decide: Callable[[State, Command], list[Event]]
    """The events that a command leads to; raises Rejected. Repeating a settled command gives []."""
    evolve: Callable[[State, RecordedEvent], State]
    """The state after an event: ours, or one heard that we keep something of."""
    save: Callable[[Connection, State, State], None]
    """Write the rows in which `after` differs from `before`."""
    schedule: Callable[[State, RecordedEvent], Iterable[Change]]
    """What an event, ours or one heard, makes due or no longer due."""
    subscriptions: tuple[Subscription, ...]
    """What the service hears."""


def no_tasks(_state: object, _recorded: RecordedEvent) -> tuple[Change, ...]:
    """The `schedule` of a service that has no tasks."""
    return ()
