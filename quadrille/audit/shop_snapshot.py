"""The databases of the whole shop, and which events each service has handled."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from inventory_service.domain import InventoryState
from notifier_service.domain import NotifierState
from order_service.domain import OrderState
from quadrille.audit.deadlines import NEVER, Deadlines
from quadrille.audit.read_model import READ, ReadSnapshot, read_snapshot_of_read_api
from quadrille.audit.snapshot import (
    DEFINITIONS,
    CorruptDatabase,
    ServiceSnapshot,
    read_snapshot,
    with_tail,
)
from shared.chassis.messages import clock
from shared.chassis.messages.recorded_event import RecordedEvent
from shipping_service.domain import ShippingState

LONG_AGO = datetime.min.replace(tzinfo=UTC)


class UnreadableShop(Exception):
    """`faults` has a sentence for each service whose database cannot be read."""

    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__("; ".join(faults.values()))
        self.faults = faults


class ShopSnapshot:
    """The snapshots of all services with an event log, and of the read API."""

    def __init__(
        self,
        services: Mapping[str, ServiceSnapshot[Any]],
        read: ReadSnapshot | None,
        now: datetime,
        inbox_retention_days: int = 0,
        deadlines: Deadlines = NEVER,
    ) -> None:
        """`services` by name; with 0 days, inbox rows are never deleted."""
        self.deadlines = deadlines
        self.services = tuple(services.values())
        self.order: ServiceSnapshot[OrderState] = services["order"]
        self.inventory: ServiceSnapshot[InventoryState] = services["inventory"]
        self.shipping: ServiceSnapshot[ShippingState] = services["shipping"]
        self.notifier: ServiceSnapshot[NotifierState] = services["notifier"]
        self.read = read
        """None if the read API has no database: it builds a new one from the stream."""
        self.now = now
        self._inbox_start = (
            now - timedelta(days=inbox_retention_days) if inbox_retention_days else LONG_AGO
        )
        """An event that was recorded earlier may have been handled although it is not in an inbox."""

    def service(self, name: str) -> ServiceSnapshot[Any]:
        return next(service for service in self.services if service.name == name)

    @cached_property
    def events_by_id(self) -> dict[str, RecordedEvent]:
        return {
            recorded.event_id: recorded
            for service in self.services
            for recorded in service.all_events
        }

    @cached_property
    def unsettled_orders(self) -> set[str]:
        """The orders with an event that is not handled, a task, a dead letter, or an event after the snapshot."""
        unsettled: set[str] = set()
        # The services that decide the outcome of an order.
        for service in (self.order, self.inventory, self.shipping):
            unsettled.update(recorded.event.entity_id for recorded in self.unhandled_by(service))
            unsettled.update(recorded.event.entity_id for recorded in service.tail)
            unsettled.update(
                letter.entity_id for letter in service.dead_letters if letter.entity_id
            )
            # The order service's only tasks are deadlines: they exist until the order is final.
            if service is not self.order:
                unsettled.update(task.correlation_id for task in service.tasks)
        return unsettled

    def handled_by(self, service: ServiceSnapshot[Any]) -> Iterator[RecordedEvent]:
        """The events of others that the service has handled, in this order; no dead letters."""
        dead_letter_ids = {letter.event_id for letter in service.dead_letters}
        for recorded in self.events_by_id.values():
            if recorded.event_id not in dead_letter_ids and self._may_be_forgotten(
                service, recorded
            ):
                yield recorded
        for event_id in service.inbox:
            if event_id in self.events_by_id and event_id not in dead_letter_ids:
                yield self.events_by_id[event_id]

    def has_handled(self, service: ServiceSnapshot[Any], recorded: RecordedEvent) -> bool:
        return recorded.event_id in service.inbox or self._may_be_forgotten(service, recorded)

    def unhandled_by(self, service: ServiceSnapshot[Any]) -> Iterator[RecordedEvent]:
        """The events that the service consumes and has not handled yet."""
        for recorded in self.events_by_id.values():
            is_consumed = isinstance(recorded.event, service.definition.consumes)
            if is_consumed and not self.has_handled(service, recorded):
                yield recorded

    def _may_be_forgotten(self, service: ServiceSnapshot[Any], recorded: RecordedEvent) -> bool:
        """Whether the service consumes it and may have deleted its inbox row."""
        return (
            recorded.recorded_at < self._inbox_start
            and isinstance(recorded.event, service.definition.consumes)
            and recorded.event_id not in service.inbox
        )


def read_shop(
    data_dir: Path, inbox_retention_days: int = 0, deadlines: Deadlines = NEVER
) -> ShopSnapshot:
    """The databases in `data_dir`. Raises UnreadableShop."""
    paths = {name: data_dir / f"{name}.db" for name in (*(d.name for d in DEFINITIONS), READ)}
    if not any(path.exists() for path in paths.values()):
        raise UnreadableShop({"": f"{data_dir} contains no databases of a shop"})
    faults: dict[str, str] = {}
    services: dict[str, ServiceSnapshot[Any]] = {}
    for definition in DEFINITIONS:
        try:
            services[definition.name] = read_snapshot(definition, paths[definition.name])
        except CorruptDatabase as corrupt:
            faults[definition.name] = str(corrupt)
    read = None
    try:
        read = read_snapshot_of_read_api(paths[READ]) if paths[READ].exists() else None
    except CorruptDatabase as corrupt:
        faults[READ] = str(corrupt)
    if faults:
        raise UnreadableShop(faults)
    try:
        services = {name: with_tail(service, paths[name]) for name, service in services.items()}
    except CorruptDatabase as corrupt:
        raise UnreadableShop({"": str(corrupt)}) from corrupt
    return ShopSnapshot(services, read, clock.now(), inbox_retention_days, deadlines)
