"""The shop in memory: the real deciders, subscriptions and follow-ups of three services, and no order of anything.

What a service says lies in the post of everyone who hears it until a test delivers it: in any order, more than
once, as late as it likes. Tasks run when a test says so; time does not exist.
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import shipping_service.handlers
from inventory_service.domain import ChangeStock, CreateProduct, Description
from order_service.orders.domain import PlaceOrder, RequestCancellation
from order_service.orders.pricing import WantedItem
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.messages.cloudevents import decode, encode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.testing import InMemoryService, TaskKey
from shared.contracts import CATALOG
from shipping_service.domain import CompleteShipment, DispatchShipment, FailShipment
from tests.support.chassis import INVENTORY, ORDER, SHIPPING, ServiceSpec

PRICE = 100
AGAIN = 0.2
"""The share of letters that come once more."""


class Member(InMemoryService[Any, Any]):
    """One service with the events that it has still to receive."""

    def __init__(self, service: ServiceSpec) -> None:
        super().__init__(service.source, service.logic)
        self.post: list[RecordedEvent] = []
        self.story: list[RecordedEvent | CommandEnvelope] = []
        """All that it was given, in order; repeated events too."""

    def handle(self, event: RecordedEvent) -> list[RecordedEvent]:
        self.story.append(event)
        return super().handle(event)

    def execute(self, command: Any) -> list[RecordedEvent]:
        self.story.append(CommandEnvelope(command))
        return super().execute(command)


class World:
    """The three that decide, and the post between them."""

    def __init__(self, stock: dict[str, int]) -> None:
        self.order = Member(ORDER)
        self.inventory = Member(INVENTORY)
        self.shipping = Member(SHIPPING)
        self.members = (self.order, self.inventory, self.shipping)
        self.customers_requests: dict[str, list[bool]] = defaultdict(list)
        """For each order, whether each request of its customer to cancel was accepted."""
        for product_id, quantity in stock.items():
            self._put_on_sale(product_id, quantity)
        self.deliver_all()

    def place(self, order_id: str, items: Iterable[tuple[str, int]]) -> None:
        """A customer orders."""
        wanted = tuple(WantedItem(product_id=name, quantity=number) for name, number in items)
        self._send(
            self.order.execute(
                PlaceOrder(order_id=order_id, user_id="guest", items=wanted, currency="JPY")
            )
        )

    def cancel(self, order_id: str) -> None:
        """The customer wants out."""
        try:
            said = self.order.execute(RequestCancellation(order_id=order_id, reason="CUSTOMER"))
        except Rejected:
            self.customers_requests[order_id].append(False)
            return
        self.customers_requests[order_id].append(True)
        self._send(said)

    def expire(self, order_id: str) -> None:
        """The order's deadline passes, or has passed while its run was being overtaken."""
        self._send(self.order.execute(RequestCancellation(order_id=order_id, reason="EXPIRED")))

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
        """A task of shipping is over, if it was not dropped meanwhile; its result comes back as a command."""
        self.shipping.tasks.pop(due, None)
        if command:
            self._send(self.shipping.execute(command))

    def deliver(self, member: Member, index: int, *, again_later: bool = False) -> None:
        """One letter of its post reaches the service; it may come once more."""
        letter = member.post[index] if again_later else member.post.pop(index)
        self._send(member.handle(letter))

    def lose(self, member: Member, index: int, *, everywhere: bool) -> RecordedEvent:
        """The broker loses an event before this consumer acknowledged it, or before any of them did."""
        lost = member.post.pop(index)
        for other in self.members if everywhere else ():
            other.post = [event for event in other.post if event.event_id != lost.event_id]
        return lost

    def deliver_some(self, number: int, draw: random.Random) -> None:
        """So many letters, in any order, and some of them twice."""
        for _ in range(number):
            if letters := self.letters():
                self.deliver(*draw.choice(letters), again_later=draw.random() < AGAIN)

    def deliver_all(self, draw: random.Random | None = None) -> None:
        """Until nobody has anything more to hear; with a draw in any order and some letters twice."""
        while letters := self.letters():
            if draw is None:
                self.deliver(*letters[0])
            else:
                self.deliver_some(1, draw)

    def letters(self) -> list[tuple[Member, int]]:
        """Who could hear what next."""
        return [(each, index) for each in self.members for index in range(len(each.post))]

    def begun(self) -> list[str]:
        """The orders whose carrier has been asked, whether or not it still matters."""
        shipments = self.shipping.state.shipments.values()
        return [each.order_id for each in shipments if each.shipment_id]

    def bookings_due(self) -> list[str]:
        """The orders whose carrier still has to answer."""
        return [
            due.key for due in self.shipping.tasks if due.kind == shipping_service.handlers.BOOKING
        ]

    def said(self, member: Member, *event_types: type) -> list[RecordedEvent]:
        """What of this kind is in the service's log."""
        return [each for each in member.log if isinstance(each.event, event_types)]

    def _send(self, said: list[RecordedEvent]) -> None:
        for recorded in said:
            assert CATALOG.publisher_of(type(recorded.event)) == recorded.source
            for member in self.members:
                if member.consumes(recorded):
                    member.post.append(decode(recorded.subject, encode(recorded), CATALOG))

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
