"""What distinguishes one service from another: its rules, its tables, its subscriptions and its schedule."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection

from shared.chassis.engine.rules import RuleFailed, rules
from shared.chassis.messages.decider import Decider, ScheduleRule, Subscription, no_tasks
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.entity_store import EntityStore

State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")


RecordHook = Callable[[Connection, Sequence[RecordedEvent], Sequence[RecordedEvent]], None]
"""Called in the transaction that consumes and records events, with the consumed ones and those of the service."""


class ServiceLogic(NamedTuple, Generic[State, Command]):
    """What the writer needs to know of its service."""

    decider: Decider[State, Command]
    store: EntityStore[State]
    subscriptions: tuple[Subscription[Command], ...]
    schedule: ScheduleRule[State] = no_tasks
    record_hooks: tuple[RecordHook, ...] = ()
    nudges: tuple[type[Event], ...] = ()
    """Events at which the service repeats what it has published about their entity: see `nudge`."""

    def commands_for(self, events: Iterable[RecordedEvent]) -> dict[str, Command | RuleFailed]:
        """The commands that these events lead to, or why they cannot be made, by event id."""
        command_for = {
            subscription.event_type: subscription.command_for for subscription in self.subscriptions
        }
        commands: dict[str, Command | RuleFailed] = {}
        for recorded in events:
            try:
                with rules():
                    if make := command_for[type(recorded.event)]:
                        commands[recorded.event_id] = make(recorded)
            except RuleFailed as failed:
                commands[recorded.event_id] = failed
        return commands
