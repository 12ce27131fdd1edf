"""The rules and the tables of each service that has an event log."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import MetaData

import inventory_service.app
import inventory_service.store
import notifier_service.app
import notifier_service.smtp
import notifier_service.store
import order_service.app
import order_service.store
import shipping_service.app
import shipping_service.store
from shared.chassis.engine.rebuild import DerivedTables
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.runtime.logic import with_hooks
from shared.settings import ShopSettings

Logic = ServiceLogic[Any, Any]


class ServiceRules(NamedTuple):
    """What a service does with events, as it is put together in its `app.py`."""

    logic: Callable[[ShopSettings], Logic]
    tables: MetaData
    derived: Callable[[], DerivedTables]


def logic_of(service: str, settings: ShopSettings) -> Logic:
    """Raises SettingsError."""
    return with_hooks(RULES[service].logic(settings), service, kinds=())


def _shipping(settings: ShopSettings) -> Logic:
    return shipping_service.app.logic(shipping_service.app.carriers_of(settings))


def _notifier(settings: ShopSettings) -> Logic:
    sends = notifier_service.smtp.read_url(settings.smtp_url) is not None
    max_age = notifier_service.app.max_age(settings)
    return notifier_service.app.logic(sends=sends, max_age=max_age)


RULES: Mapping[str, ServiceRules] = {
    "order": ServiceRules(
        order_service.app.logic, order_service.store.METADATA, order_service.store.derived_tables
    ),
    "inventory": ServiceRules(
        lambda _: inventory_service.app.LOGIC,
        inventory_service.store.METADATA,
        inventory_service.store.derived_tables,
    ),
    "shipping": ServiceRules(
        _shipping, shipping_service.store.METADATA, shipping_service.store.derived_tables
    ),
    "notifier": ServiceRules(
        _notifier, notifier_service.store.METADATA, notifier_service.store.derived_tables
    ),
}
