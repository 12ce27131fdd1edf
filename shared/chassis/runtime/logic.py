"""The logic of a service as it runs: what every service consumes and records, added to its own."""

from collections.abc import Collection
from typing import TypeVar

import msgspec

from shared.chassis.engine import nudge
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.http import identity
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.decider import on
from shared.chassis.messages.identity_events import IDENTITY
from shared.chassis.messages.subjects import subject_of_every

State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")

CONSUMED_BY_ALL = IDENTITY
"""Every service consumes the events that tokens are checked by. The one that signs receives its own too, and so detects a forged one."""


def with_hooks(
    logic: ServiceLogic[State, Command], source: str, kinds: Collection[str]
) -> ServiceLogic[State, Command]:
    """The complete logic of a service, as it runs."""
    subscriptions = (*logic.subscriptions, *(on(event_type) for event_type in CONSUMED_BY_ALL))
    hooks = (*logic.record_hooks, identity.hook(source), nudge.hook(logic.nudges, kinds))
    return logic._replace(subscriptions=subscriptions, record_hooks=hooks)


def consumed_subjects(logic: ServiceLogic[State, Command], catalog: Catalog) -> list[str]:
    """The filter of the service's durable."""
    return [
        subject_of_every(
            catalog.publisher_of(subscription.event_type) or "*", subscription.event_type
        )
        for subscription in logic.subscriptions
    ]
