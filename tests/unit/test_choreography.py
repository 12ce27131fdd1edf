"""The whole protocol over the real rules: any order of delivery, duplicates, cancellation and expiry at any moment,
and the loss of any one event."""

import random
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from inventory_service.domain import ReservationStatus
from order_service.orders.domain import is_final
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
    DeliveryOverdue,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    ShipmentCancellationRefused,
    ShipmentCancelled,
    ShipmentCompleted,
    StockAdded,
    StockDeducted,
    StockWrittenOff,
)
from shared.contracts.order import OrderStatus
from shipping_service.domain import ShipmentStatus
from shipping_service.handlers import UNAVAILABLE, WITHDRAWAL
from tests.support.carrier_model import OUTCOMES, CarrierModel
from tests.support.in_memory_shop import InMemoryShop, ShopService

PRODUCTS = ("prod001", "prod002")
ORDERS = ("o1", "o2", "o3")

HALF = 0.5
DEADLINES = 3
"""How often deadlines pass until nothing changes any more: a lost answer is asked for once more."""
CANCELLATIONS = st.sampled_from(["CUSTOMER", "EXPIRED", *[None] * 8])
"""Mostly none: an order that is cancelled early never reaches a carrier."""
PICKS = st.integers(0, 1000)
SEEDS = st.integers(0, 2**32)
BASKETS = st.lists(st.tuples(st.sampled_from(PRODUCTS), st.integers(1, 3)), min_size=1, max_size=3)

RESERVATIONS_AT_THE_END = {
    OrderStatus.COMPLETED: {ReservationStatus.DEDUCTED},
    OrderStatus.SHIPMENT_FAILED: {ReservationStatus.RELEASED, ReservationStatus.WRITTEN_OFF},
    OrderStatus.CANCELLED_NO_STOCK: {ReservationStatus.REFUSED},
    OrderStatus.CANCELLED: {ReservationStatus.RELEASED, ReservationStatus.REFUSED},
    OrderStatus.EXPIRED: {ReservationStatus.RELEASED, ReservationStatus.REFUSED},
}
SHIPMENTS_AT_THE_END = {
    OrderStatus.COMPLETED: {ShipmentStatus.COMPLETED},
    OrderStatus.SHIPMENT_FAILED: {ShipmentStatus.FAILED},
    OrderStatus.CANCELLED_NO_STOCK: {None},
    OrderStatus.CANCELLED: {ShipmentStatus.CANCELLED},
    OrderStatus.EXPIRED: {ShipmentStatus.CANCELLED},
}


class Shop(RuleBasedStateMachine):
    """After any steps, once all events are delivered: every order has ended once and consistently.

    If an event was lost, the orders' deadlines are needed too.
    """

    @initialize(first=st.integers(0, 5), second=st.integers(0, 5), seed=SEEDS)
    def open(self, first: int, second: int, seed: int) -> None:
        self.draw = random.Random(seed)
        self.shop = InMemoryShop(dict(zip(PRODUCTS, (first, second), strict=True)))
        self.carrier = CarrierModel(self.shop)
        self.lost: tuple[RecordedEvent, ShopService] | None = None

    @property
    def placed(self) -> list[str]:
        return list(self.shop.order.state.orders)

    @precondition(lambda self: len(self.placed) < len(ORDERS))
    @rule(basket=BASKETS)
    def a_customer_orders(self, basket: list[tuple[str, int]]) -> None:
        self.shop.place(ORDERS[len(self.placed)], basket)

    @precondition(lambda self: self.placed)
    @rule(pick=PICKS, reason=CANCELLATIONS)
    def an_order_is_cancelled_or_expires(self, pick: int, reason: str | None) -> None:
        order_id = self.placed[pick % len(self.placed)]
        if reason == "CUSTOMER":
            self.shop.cancel(order_id)
        if reason == "EXPIRED":
            self.shop.expire(order_id)

    @precondition(lambda self: self.shop.initiated())
    @rule(number=st.integers(1, 6))
    def carriers_are_called_and_answer(self, number: int) -> None:
        for _ in range(number):
            self.carrier.do_something(self.draw)

    @precondition(lambda self: self.shop.deliveries())
    @rule(number=st.integers(1, 12))
    def some_events_are_delivered(self, number: int) -> None:
        self.shop.deliver_some(number, self.draw)

    @precondition(lambda self: self.lost is None and self.shop.deliveries())
    @rule(pick=PICKS, everywhere=st.booleans())
    def one_event_is_lost(self, pick: int, everywhere: bool) -> None:
        deliveries = self.shop.deliveries()
        service, index = deliveries[pick % len(deliveries)]
        self.lost = self.shop.lose(service, index, everywhere=everywhere), service

    @invariant()
    def reserved_stock_is_on_hand(self) -> None:
        for product in self.shop.inventory.state.products.values():
            assert 0 <= product.reserved <= product.on_hand

    @invariant()
    def no_order_has_ended_twice(self) -> None:
        assert all(number == 1 for number in self._ends().values())

    def teardown(self) -> None:
        if not hasattr(self, "shop"):
            return
        self.shop.deliver_all(self.draw)
        self._every_shipment_will_be_booked()
        self._carriers_answer_everything()
        self._carriers_report_or_stay_silent()
        self.shop.deliver_all(self.draw)
        self._deadlines_pass()
        self._an_operator_settles_what_is_overdue()
        if self.lost:
            self._deadlines_pass()
        self._no_delivery_is_overdue_twice()
        self._every_order_has_ended_once()
        self._reservations_and_shipments_agree_with_the_orders()
        self._stock_is_conserved()
        self._shipping_answered_every_request()
        self._no_contradictory_answers()
        self._nothing_unwanted_is_booked()

    def _ends(self) -> Counter[str]:
        ends = (OrderCompleted, OrderFailed, OrderCancelled)
        return Counter(event.entity_id for event in self.shop.published(self.shop.order, *ends))

    def _every_shipment_will_be_booked(self) -> None:
        shipments = self.shop.shipping.state.shipments.values()
        unbooked = {
            shipment.order_id
            for shipment in shipments
            if shipment.status is ShipmentStatus.INITIATED
        }
        assert unbooked <= set(self.shop.bookings_due())

    def _carriers_answer_everything(self) -> None:
        """Half of the requests in flight arrive and lose their answers; then everything due is done."""
        while self.carrier.under_way:
            if self.draw.random() < HALF:
                self.carrier.arrive(0, is_answered=False)
            else:
                self.carrier.lose(0)
        for order_id in self.shop.bookings_due():
            self.carrier.send(order_id)
            self.carrier.arrive(0, is_answered=True)

    def _carriers_report_or_stay_silent(self) -> None:
        """Of one shipment in three no outcome is ever reported."""
        reports = (True, False, None)
        for number, order_id in enumerate(self.shop.initiated()):
            delivered = reports[number % len(reports)]
            if delivered is not None:
                self.shop.answer_booking(order_id, delivered=delivered)

    def _deadlines_pass(self) -> None:
        """Several times: an answer may be what was lost, and the order then asks again."""
        for _ in range(DEADLINES):
            self.shop.pass_deadlines()
            self.shop.deliver_all(self.draw)

    def _an_operator_settles_what_is_overdue(self) -> None:
        for order_id in self.shop.dispatched():
            if order_id not in self._overdue():
                assert self.lost is not None
            self.shop.settle(order_id, self.draw.choice(OUTCOMES))
        self.shop.deliver_all(self.draw)

    def _overdue(self) -> Counter[str]:
        events = self.shop.published(self.shop.order, DeliveryOverdue)
        return Counter(event.entity_id for event in events)

    def _no_delivery_is_overdue_twice(self) -> None:
        assert set(self._overdue().values()) <= {1}

    def _is_lost(self, event_type: type[Event], order_id: str) -> bool:
        """Whether the one lost event is of this type and order."""
        return (
            self.lost is not None
            and isinstance(self.lost[0].event, event_type)
            and self.lost[0].entity_id == order_id
        )

    def _every_order_has_ended_once(self) -> None:
        assert all(is_final(order) for order in self.shop.order.state.orders.values())
        assert self._ends() == dict.fromkeys(self.placed, 1)
        assert not self.shop.order.tasks, "a finished order has no deadline"

    def _reservations_and_shipments_agree_with_the_orders(self) -> None:
        reservations = self.shop.inventory.state.reservations
        shipments = self.shop.shipping.state.shipments
        for order_id, order in self.shop.order.state.orders.items():
            shipment = shipments.get(order_id)
            reservation = reservations.get(order_id)
            if reservation or not self._is_lost(OrderCreated, order_id):
                assert reservations[order_id].status in RESERVATIONS_AT_THE_END[order.status]
            shipped = shipment.status if shipment else None
            if shipment or not self._is_lost(OrderCancellationRequested, order_id):
                assert shipped in SHIPMENTS_AT_THE_END[order.status]

    def _stock_is_conserved(self) -> None:
        inventory = self.shop.inventory
        for product_id, product in inventory.state.products.items():
            added = sum(
                recorded.event.quantity
                for recorded in self.shop.published(inventory, StockAdded)
                if recorded.event.product_id == product_id
            )
            deducted = sum(
                line.quantity
                for recorded in self.shop.published(inventory, StockDeducted, StockWrittenOff)
                for line in recorded.event.items
                if line.product_id == product_id
            )
            assert product.reserved == 0
            assert product.on_hand + deducted == added

    def _shipping_answered_every_request(self) -> None:
        asked = self.shop.published(self.shop.order, OrderCancellationRequested)
        answers = self.shop.published(
            self.shop.shipping, ShipmentCancelled, ShipmentCancellationRefused
        )
        answered = [answer.causation_id for answer in answers if answer.causation_id]
        if self.lost and self.lost[0].event_id not in answered:
            asked = [request for request in asked if request.event_id != self.lost[0].event_id]
        assert Counter(answered) == Counter(request.event_id for request in asked)

    def _no_contradictory_answers(self) -> None:
        shipping = self.shop.shipping
        refused = {
            recorded.entity_id
            for recorded in self.shop.published(shipping, ShipmentCancellationRefused)
        }
        cancelled = {
            recorded.entity_id for recorded in self.shop.published(shipping, ShipmentCancelled)
        }
        delivered = {
            recorded.entity_id for recorded in self.shop.published(shipping, ShipmentCompleted)
        }
        assert not refused & cancelled
        assert not delivered & cancelled
        for order_id, accepted in self.shop.customers_requests.items():
            order = self.shop.order.state.orders[order_id]
            assert sorted(accepted, reverse=True) == accepted, "refused only once it is final"
            is_lost = self._is_lost(OrderCancellationRequested, order_id)
            ended_otherwise = order.status in {OrderStatus.COMPLETED, OrderStatus.SHIPMENT_FAILED}
            if any(accepted) and ended_otherwise and not is_lost:
                assert order_id in refused

    def _nothing_unwanted_is_booked(self) -> None:
        self.carrier.withdraw_all_due()
        assert not [due for due in self.shop.shipping.tasks if due.kind == WITHDRAWAL]
        shipments = self.shop.shipping.state.shipments.values()
        unwanted = {
            shipment.shipment_id
            for shipment in shipments
            if shipment.status is ShipmentStatus.CANCELLED or shipment.reason == UNAVAILABLE
        }
        assert not unwanted & self.carrier.bookings


class TestAnyDisorder(Shop.TestCase):
    settings = settings(max_examples=150, stateful_step_count=40)
