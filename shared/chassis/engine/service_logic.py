"""What distinguishes one service from another: its rules, its tables, its subscriptions and its schedule."""

from typing import Generic, NamedTuple, TypeVar

import msgspec

from shared.chassis.messages.decider import Decider, ScheduleRule, Subscription, no_tasks
from shared.chassis.storage.entity_store import EntityStore

State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")


class ServiceLogic(NamedTuple, Generic[State, Command]):
    """What the writer needs to know of its service."""

    decider: Decider[State, Command]
    store: EntityStore[State]
    subscriptions: tuple[Subscription[Command], ...]
    schedule: ScheduleRule[State] = no_tasks
