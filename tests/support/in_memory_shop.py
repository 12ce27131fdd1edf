"""The shop in memory: the real deciders, subscriptions and schedules of three services, delivered in any order.

A published event is pending at each of its consumers until a test delivers it: in any order, more than once, at any
moment. Tasks run when the test runs them; there is no clock.
"""

import random
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from typing import Any

import shipping_service.handlers
from inventory_service.domain import ChangeStock, CreateProduct, Description
from order_service.handlers import pass_deadline
from order_service.orders.domain import NudgeOrder, PlaceOrder, RequestCancellation
from order_service.orders.pricing import RequestedItem
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.messages.cloudevents import decode, encode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.task_queue import Task
from shared.chassis.testing import START, InMemoryService, TaskKey
from shared.contracts import CATALOG
from shipping_service.domain import (
    CompleteShipment,
    DispatchShipment,
    FailShipment,
    Settlement,
    SettleShipment,
    ShipmentStatus,
)
from tests.support.chassis import INVENTORY, ORDER, SHIPPING, ServiceSpec

PRICE = 100
AGAIN = 0.2
"""The share of events that are delivered twice."""


class ShopService(InMemoryService[Any, Any]):
    """One service with the events that it has still to receive."""

    def __init__(self, spec: ServiceSpec) -> None:
        super().__init__(spec.source, spec.logic)
        self.pending: list[RecordedEvent] = []
        self.steps: list[RecordedEvent | CommandEnvelope] = []
        """Everything it handled and executed, in order; repeated events too."""

    def handle(self, event: RecordedEvent) -> list[RecordedEvent]:
        self.steps.append(event)
        return super().handle(event)

    def execute(self, command: Any) -> list[RecordedEvent]:
        self.steps.append(CommandEnvelope(command))
        return super().execute(command)


def deadline_command(order: InMemoryService[Any, Any], due: TaskKey) -> Any:
    """What an order's deadline leads to, by the order service's real task handler."""
    task = Task("t1", *due, order.tasks[due].payload, START, 0, START, None, due.key, None)
    return finished(pass_deadline(task))


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What it returns; nothing in it waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    message = "it waits for something"
    raise AssertionError(message)


class InMemoryShop:
    """Order, inventory and shipping, and the events on their way between them."""

    def __init__(self, stock: dict[str, int]) -> None:
        self.order = ShopService(ORDER)
        self.inventory = ShopService(INVENTORY)
        self.shipping = ShopService(SHIPPING)
        self.services = (self.order, self.inventory, self.shipping)
        self.customers_requests: dict[str, list[bool]] = defaultdict(list)
        """For each order, whether each request of its customer to cancel was accepted."""
        for product_id, quantity in stock.items():
            self._put_on_sale(product_id, quantity)
        self.deliver_all()

    def place(self, order_id: str, items: Iterable[tuple[str, int]]) -> None:
        lines = tuple(RequestedItem(product_id=name, quantity=number) for name, number in items)
        self._send(
            self.order.execute(
                PlaceOrder(order_id=order_id, user_id="guest", items=lines, currency="JPY")
            )
        )

    def cancel(self, order_id: str) -> None:
        try:
            events = self.order.execute(RequestCancellation(order_id=order_id, reason="CUSTOMER"))
        except Rejected:
            self.customers_requests[order_id].append(False)
            return
        self.customers_requests[order_id].append(True)
        self._send(events)

    def expire(self, order_id: str) -> None:
        """The order's deadline passes, or that of an earlier status has passed while its run was being overtaken."""
        self._send(self.order.execute(RequestCancellation(order_id=order_id, reason="EXPIRED")))

    def pass_deadlines(self) -> None:
        """Every order's deadline passes, the delivery's too."""
        for due in list(self.order.tasks):
            command = deadline_command(self.order, due)
            del self.order.tasks[due]
            self._send(self.order.execute(command))

    def settle(self, order_id: str, outcome: Settlement) -> None:
        """An operator ends a dispatched shipment."""
        self._send(self.shipping.execute(SettleShipment(order_id=order_id, outcome=outcome)))

    def nudge(self, order_id: str) -> None:
        """An operator has every service publish its events of the order again."""
        self._send(self.order.execute(NudgeOrder(order_id=order_id)))

    def answer_booking(self, order_id: str, *, delivered: bool) -> None:
        """The carrier answers, perhaps a second time, perhaps after the cancellation."""
        self._send(
            self.shipping.execute(
                CompleteShipment(order_id=order_id, tracking_number="T1")
                if delivered
                else FailShipment(order_id=order_id, reason="CARRIER_DECLINED")
            )
        )

    def confirm_booking(self, order_id: str) -> None:
        """The carrier takes the booking, perhaps a second time, perhaps after the cancellation."""
        self._send(
            self.shipping.execute(
                DispatchShipment(order_id=order_id, carrier="http", reference="R1")
            )
        )

    def finish(self, due: TaskKey, command: object | None) -> None:
        """Complete a task of shipping, unless it was dropped meanwhile; its result is executed as a command."""
        self.shipping.tasks.pop(due, None)
        if command:
            self._send(self.shipping.execute(command))

    def deliver(self, service: ShopService, index: int, *, again_later: bool = False) -> None:
        """Deliver one pending event; it may be delivered again."""
        event = service.pending[index] if again_later else service.pending.pop(index)
        self._send(service.handle(event))

    def lose(self, service: ShopService, index: int, *, everywhere: bool) -> RecordedEvent:
        """The broker loses an event before this consumer acknowledged it, or before any of them did."""
        lost = service.pending.pop(index)
        for other in self.services if everywhere else ():
            other.pending = [event for event in other.pending if event.event_id != lost.event_id]
        return lost

    def deliver_some(self, number: int, draw: random.Random) -> None:
        """Deliver this number of events in any order, some of them twice."""
        for _ in range(number):
            if deliveries := self.deliveries():
                self.deliver(*draw.choice(deliveries), again_later=draw.random() < AGAIN)

    def deliver_all(self, draw: random.Random | None = None) -> None:
        """Deliver until nothing is pending; with a draw in any order, and some events twice."""
        while deliveries := self.deliveries():
            if draw is None:
                self.deliver(*deliveries[0])
            else:
                self.deliver_some(1, draw)

    def deliveries(self) -> list[tuple[ShopService, int]]:
        """Every possible next delivery: a service and the index of its pending event."""
        return [
            (service, index) for service in self.services for index in range(len(service.pending))
        ]

    def initiated(self) -> list[str]:
        """The orders with an initiated shipment, in any status."""
        shipments = self.shipping.state.shipments.values()
        return [shipment.order_id for shipment in shipments if shipment.shipment_id]

    def dispatched(self) -> list[str]:
        """The orders whose shipment only its carrier or an operator can end."""
        shipments = self.shipping.state.shipments.values()
        status = ShipmentStatus.DISPATCHED
        return [shipment.order_id for shipment in shipments if shipment.status is status]

    def bookings_due(self) -> list[str]:
        """The orders whose carrier still has to answer."""
        return [
            due.key for due in self.shipping.tasks if due.kind == shipping_service.handlers.BOOKING
        ]

    def published(self, service: ShopService, *event_types: type) -> list[RecordedEvent]:
        """The events of these types in the service's log."""
        return [recorded for recorded in service.log if isinstance(recorded.event, event_types)]

    def _send(self, events: list[RecordedEvent]) -> None:
        for recorded in events:
            assert CATALOG.publisher_of(type(recorded.event)) == recorded.source
            for service in self.services:
                if service.consumes(recorded):
                    service.pending.append(decode(recorded.subject, encode(recorded), CATALOG))

    def _put_on_sale(self, product_id: str, quantity: int) -> None:
        described = Description(name=product_id, description="", price=PRICE)
        self._send(
            self.inventory.execute(
                CreateProduct(product_id=product_id, description=described, stock=0)
            )
        )
        if quantity:
            self._send(
                self.inventory.execute(ChangeStock(product_id=product_id, quantity=quantity))
            )
