"""What distinguishes one service from another: its rules, its tables, its subscriptions and its schedule."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from shared.chassis.engine.rules import RuleFailed, rules
from shared.chassis.messages.decider import Decider, ScheduleRule, Subscription, no_tasks
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.entity_store import EntityStore

State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")


class ServiceLogic(NamedTuple, Generic[State, Command]):
    """What the writer needs to know of its service."""

    decider: Decider[State, Command]
    store: EntityStore[State]
    subscriptions: tuple[Subscription[Command], ...]
    schedule: ScheduleRule[State] = no_tasks

    def commands_for(self, events: Iterable[RecordedEvent]) -> dict[str, Command | RuleFailed]:
        """The commands that these events lead to, or why they cannot be made, by event id."""
        command_for = {each.event_type: each.command_for for each in self.subscriptions}
        commands: dict[str, Command | RuleFailed] = {}
        for recorded in events:
            try:
                with rules():
                    if make := command_for[type(recorded.event)]:
                        commands[recorded.event_id] = make(recorded)
            except RuleFailed as failed:
                commands[recorded.event_id] = failed
        return commands
