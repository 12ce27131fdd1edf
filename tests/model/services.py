"""Three services as state machines over their real rules; each transition is computed once.

States and messages are numbered. Two are the same if they differ in times and generated ids only.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec

from inventory_service.domain import InventoryState, ReservationStatus
from order_service.domain import OrderState
from order_service.handlers import DEADLINE
from order_service.orders.domain import (
    ReportOverdue,
    RequestCancellation,
    has_deadline,
    is_final,
)
from shared.chassis.engine.rules import RuleFailed
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.testing import InMemoryService, TaskKey
from shipping_service.domain import SettleShipment, ShipmentStatus, ShippingState
from shipping_service.handlers import BOOKING
from tests.support.chassis import INVENTORY, ORDER, SHIPPING, ServiceSpec
from tests.support.in_memory_shop import ShopService

PRODUCT = "prod001"
QUANTITY = 2
"""Of each order."""
SPECS = (ORDER, INVENTORY, SHIPPING)
NAMES = tuple(spec.source for spec in SPECS)

GENERATED = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]*Z"
)
"""Ids and times."""
SETTLED = {
    *(ReservationStatus.DEDUCTED, ReservationStatus.RELEASED),
    *(ReservationStatus.WRITTEN_OFF, ReservationStatus.REFUSED),
}
GONE = {ReservationStatus.DEDUCTED, ReservationStatus.WRITTEN_OFF}
OVER = {ShipmentStatus.COMPLETED, ShipmentStatus.FAILED, ShipmentStatus.CANCELLED}

Delivery = tuple[int, int]
"""A service and a message, by number."""


class Local(NamedTuple):
    """What one service keeps."""

    state: Any
    tasks: frozenset[TaskKey]


class Effect(NamedTuple):
    """What a message or a command does to a service."""

    local: int
    sent: tuple[Delivery, ...]
    """One for each consumer of each event."""


class Services:
    """The rules of the specs, and the violations that their transitions commit."""

    def __init__(self, stock: int, specs: tuple[ServiceSpec, ...] = SPECS) -> None:
        self.violations: set[str] = set()
        self._stock = stock
        self._specs = specs
        self._locals: list[Local] = []
        self._messages: list[RecordedEvent] = []
        self._numbers: dict[tuple[int, bytes], int] = {}
        self._effects: dict[tuple[int, int, str], Effect | None] = {}

    def add(self, index: int, service: ShopService) -> int:
        """Its local state's number."""
        return self._number_local(index, Local(service.state, frozenset(service.tasks)))

    def add_message(self, event: RecordedEvent) -> int:
        key = msgspec.json.encode((event.event_type, event.event))
        return self._number((-1, key), event, self._messages)

    def local(self, number: int) -> Local:
        return self._locals[number]

    def name(self, message: int) -> str:
        event = self._messages[message]
        return f"{event.event_type} {event.entity_id}"

    def handle(self, index: int, local: int, message: int) -> Effect | None:
        """None if a rule fails, which is a violation."""
        event = self._messages[message]
        return self._once((index, local, str(message)), lambda service: service.handle(event))

    def execute(self, index: int, local: int, command: Any) -> Effect | None:
        """None if it is rejected. Unless it is somebody's request, it is the result of a task, which is over then."""
        return self._once((index, local, repr(command)), partial(_execute, command=command))

    def _once(
        self, key: tuple[int, int, str], act: Callable[[InMemoryService[Any, Any]], Any]
    ) -> Effect | None:
        if key not in self._effects:
            self._effects[key] = self._compute(key[0], self._locals[key[1]], act)
        return self._effects[key]

    def _compute(
        self, index: int, before: Local, act: Callable[[InMemoryService[Any, Any]], Any]
    ) -> Effect | None:
        spec = self._specs[index]
        service: InMemoryService[Any, Any] = InMemoryService(spec.source, spec.logic)
        service.state = before.state
        service.tasks = dict.fromkeys(before.tasks)  # type: ignore[arg-type]
        try:
            events = act(service)
        except Rejected:
            return None
        except RuleFailed as failed:
            self.violations.add(f"a rule of {spec.source} fails: {failed.__cause__ or failed!r}")
            return None
        after = Local(service.state, frozenset(service.tasks))
        self.violations.update(_changed_ends(before.state, after.state))
        self.violations.update(_missing_tasks(after))
        self.violations.update(self._wrong_stock(after.state))
        return Effect(self._number_local(index, after), tuple(self._deliveries(events)))

    def _deliveries(self, events: list[RecordedEvent]) -> Iterator[Delivery]:
        for event in events:
            for other, spec in enumerate(self._specs):
                if any(isinstance(event.event, on.event_type) for on in spec.logic.subscriptions):
                    yield other, self.add_message(event)

    def _wrong_stock(self, state: Any) -> Iterator[str]:
        if not isinstance(state, InventoryState):
            return
        statuses = [reservation.status for reservation in state.reservations.values()]
        reserved = QUANTITY * statuses.count(ReservationStatus.RESERVED)
        on_hand = self._stock - QUANTITY * sum(status in GONE for status in statuses)
        product = state.products[PRODUCT]
        actual = (product.on_hand, product.reserved)
        if actual != (on_hand, reserved) or not 0 <= reserved <= on_hand:
            yield f"stock {actual}, not {(on_hand, reserved)}"

    def _number_local(self, index: int, local: Local) -> int:
        key = msgspec.json.encode((local.state, sorted(local.tasks)))
        return self._number((index, key), local, self._locals)

    def _number(self, key: tuple[int, bytes], item: Any, items: list[Any]) -> int:
        canonical = (key[0], GENERATED.sub(b"", key[1]))
        number = self._numbers.get(canonical)
        if number is None:
            number = self._numbers[canonical] = len(items)
            items.append(item)
        return number


def _execute(service: InMemoryService[Any, Any], command: Any) -> list[RecordedEvent]:
    match command:
        case RequestCancellation(reason="CUSTOMER"):
            pass
        case RequestCancellation(order_id=order_id):
            service.tasks.pop(TaskKey(DEADLINE, order_id), None)
        case ReportOverdue(order_id=order_id):
            service.tasks.pop(TaskKey(DEADLINE, order_id), None)
        case SettleShipment():
            pass
        case _:
            service.tasks.pop(TaskKey(BOOKING, command.order_id), None)
    return service.execute(command)


def _changed_ends(before: Any, after: Any) -> Iterator[str]:
    """Orders, reservations and shipments that had ended."""
    ended_by_field: dict[str, Callable[[Any], bool]] = {
        "orders": is_final,
        "reservations": lambda reservation: reservation.status in SETTLED,
        "shipments": lambda shipment: shipment.status in OVER,
    }
    for field, has_ended in ended_by_field.items():
        for entity_id, entity in getattr(before, field, {}).items():
            status = getattr(after, field)[entity_id].status
            if has_ended(entity) and status != entity.status:
                yield f"{field} {entity_id}: {entity.status} becomes {status}"


def _missing_tasks(local: Local) -> Iterator[str]:
    if isinstance(local.state, OrderState):
        for order_id, order in local.state.orders.items():
            if has_deadline(order) != (TaskKey(DEADLINE, order_id) in local.tasks):
                yield f"{order_id} is {order.status}, and its deadline is not as it should be"
    if isinstance(local.state, ShippingState):
        for order_id, shipment in local.state.shipments.items():
            is_booked = TaskKey(BOOKING, order_id) in local.tasks
            if shipment.status is ShipmentStatus.INITIATED and not is_booked:
                yield f"the shipment of {order_id} is initiated without a booking"
