"""Which services consume an event: those whose subscriptions list it."""

from collections.abc import Mapping
from typing import NamedTuple

import read_api
from quadrille.recovery.service_rules import RULES
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.event import Event
from shared.chassis.runtime.logic import CONSUMED_BY_ALL
from shared.contracts import CATALOG
from shared.settings import ShopSettings

DECIDERS = ("order", "inventory", "shipping", "notifier")


class Contracts(NamedTuple):
    """Every event of the shop, and by its name the services that consume it."""

    catalog: Catalog
    consumers: Mapping[str, tuple[str, ...]]


def contracts_of_the_shop() -> Contracts:
    """As the services' own code has it."""
    consumed = {service: _consumed_by(service) for service in DECIDERS}
    consumed["read"] = {event_type.__name__ for event_type in read_api.CONSUMES}
    consumers = {
        name: tuple(service for service, names in consumed.items() if name in names)
        for name in CATALOG.event_types
    }
    return Contracts(CATALOG, consumers)


def _consumed_by(service: str) -> set[str]:
    subscriptions = RULES[service].logic(ShopSettings()).subscriptions
    event_types: list[type[Event]] = [
        *(subscription.event_type for subscription in subscriptions),
        *CONSUMED_BY_ALL,
    ]
    return {event_type.__name__ for event_type in event_types}
