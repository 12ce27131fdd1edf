"""The saga of orders as a model with finitely many states, over the real rules of three services.

A message arrives at any time and in any order; some may be lost, and some handled twice, past the inbox. A carrier may
stay silent after the dispatch: then an operator ends the shipment, at the latest when its delivery is overdue.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from inventory_service.domain import ReservationStatus
from order_service.handlers import DEADLINE
from order_service.orders.domain import (
    CancellationReason,
    ReportOverdue,
    RequestCancellation,
    is_final,
)
from shared.chassis.testing import TaskKey
from shared.contracts.order import OrderStatus
from shipping_service.domain import (
    CompleteShipment,
    DispatchShipment,
    FailShipment,
    Settlement,
    SettleShipment,
    ShipmentStatus,
)
from shipping_service.handlers import BOOKING
from tests.model.explorer import Step
from tests.model.services import NAMES, PRODUCT, QUANTITY, SPECS, Delivery, Effect, Local, Services
from tests.support.chassis import ServiceSpec
from tests.support.in_memory_shop import InMemoryShop

ORDER, INVENTORY, SHIPPING = range(len(NAMES))

RESERVATIONS_AT_THE_END: Mapping[OrderStatus, set[ReservationStatus | None]] = {
    OrderStatus.COMPLETED: {ReservationStatus.DEDUCTED},
    OrderStatus.SHIPMENT_FAILED: {ReservationStatus.RELEASED, ReservationStatus.WRITTEN_OFF},
    OrderStatus.CANCELLED_NO_STOCK: {ReservationStatus.REFUSED},
    OrderStatus.CANCELLED: {ReservationStatus.RELEASED, ReservationStatus.REFUSED},
    OrderStatus.EXPIRED: {ReservationStatus.RELEASED, ReservationStatus.REFUSED},
}
SHIPMENTS_AT_THE_END: Mapping[OrderStatus, set[ShipmentStatus | None]] = {
    OrderStatus.COMPLETED: {ShipmentStatus.COMPLETED},
    OrderStatus.SHIPMENT_FAILED: {ShipmentStatus.FAILED},
    OrderStatus.CANCELLED_NO_STOCK: {None},
    OrderStatus.CANCELLED: {ShipmentStatus.CANCELLED},
    OrderStatus.EXPIRED: {ShipmentStatus.CANCELLED},
}
OUTCOMES: tuple[Settlement, ...] = ("delivered", "lost")
"""To the rules, a returned parcel is a failure as any other."""
DECLINED = "CARRIER_DECLINED"
ENDED_EARLY = {OrderStatus.CANCELLED, OrderStatus.EXPIRED}
"""Inventory or shipping may never have received a message of such an order, if one was lost."""


class Budget(NamedTuple):
    """How often each of these may still happen."""

    cancellations: int = 0
    expiries: int = 0
    """While messages are on their way. Otherwise a deadline passes as often as there is one."""
    losses: int = 0
    repetitions: int = 0


class World(NamedTuple):
    """The services and what is on its way between them; local states and messages by number."""

    locals: tuple[int, int, int]
    pending: tuple[Delivery, ...]
    """Sorted; equal messages as often as they were sent."""
    answers: tuple[tuple[str, str], ...]
    """The answers that the carrier has not given: order and answer."""
    budget: Budget

    def after(self, index: int, effect: Effect) -> "World":
        numbers = list(self.locals)
        numbers[index] = effect.local
        order, inventory, shipping = numbers
        pending = tuple(sorted((*self.pending, *effect.sent)))
        return self._replace(locals=(order, inventory, shipping), pending=pending)

    def without(self, delivery: Delivery) -> "World":
        """Unchanged if it is not pending."""
        if delivery not in self.pending:
            return self
        index = self.pending.index(delivery)
        return self._replace(pending=self.pending[:index] + self.pending[index + 1 :])

    def less(self, name: str) -> "World":
        """One of these fewer in the budget."""
        left = getattr(self.budget, name) - 1
        return self._replace(budget=self.budget._replace(**{name: left}))


class Protocol:
    """The steps of the model, and what must hold at its ends."""

    def __init__(
        self,
        *,
        stock: int,
        orders: Iterable[str] = ("o1",),
        specs: tuple[ServiceSpec, ...] = SPECS,
    ) -> None:
        self._stock = stock
        self._orders = tuple(orders)
        self._services = Services(stock, specs)

    @property
    def violations(self) -> set[str]:
        """What no transition may do."""
        return self._services.violations

    def initial(self, budget: Budget) -> World:
        """The orders are placed, and nothing has been delivered."""
        shop = InMemoryShop({PRODUCT: self._stock})
        for order_id in self._orders:
            shop.place(order_id, [(PRODUCT, QUANTITY)])
        order, inventory, shipping = (
            self._services.add(index, service) for index, service in enumerate(shop.services)
        )
        pending = [
            (index, self._services.add_message(event))
            for index, service in enumerate(shop.services)
            for event in service.pending
        ]
        answers = tuple((order_id, answer) for order_id in self._orders for answer in ANSWERS)
        return World((order, inventory, shipping), tuple(sorted(pending)), answers, budget)

    def steps_from(self, world: World) -> Iterator[Step[World]]:
        """Everything that may happen next."""
        for delivery in dict.fromkeys(world.pending):
            yield from self._deliver(world, *delivery)
            if world.budget.losses:
                yield from self._lose(world, *delivery)
        for answer in world.answers:
            yield from self._answer_booking(world, *answer)
        for order_id in self._orders:
            yield from self._settle(world, order_id)
            yield from self._cancel(world, order_id)
            yield from self._expire(world, order_id)

    def _deliver(self, world: World, index: int, message: int) -> Iterator[Step[World]]:
        effect = self._services.handle(index, world.locals[index], message)
        if effect is None:
            return
        label = f"{self._services.name(message)} → {NAMES[index]}"
        delivered = world.without((index, message)).after(index, effect)
        yield Step(label, delivered, will_happen=True)
        if world.budget.repetitions:
            again = world.after(index, effect).less("repetitions")
            yield Step(f"{label}, and once more later", again, will_happen=False)

    def _lose(self, world: World, index: int, message: int) -> Iterator[Step[World]]:
        """For this consumer, or for all that have not received it."""
        label = f"{self._services.name(message)} is lost"
        lost = world.without((index, message))
        yield Step(f"{label} for {NAMES[index]}", lost.less("losses"), will_happen=False)
        everywhere = lost
        for other in range(len(NAMES)):
            everywhere = everywhere.without((other, message))
        if everywhere != lost:
            yield Step(label, everywhere.less("losses"), will_happen=False)

    def _answer_booking(self, world: World, order_id: str, answer: str) -> Iterator[Step[World]]:
        """The carrier answers a booking that is due or was sent, also after the cancellation: each answer once."""
        local = self._local(world, SHIPPING)
        shipment = local.state.shipments.get(order_id)
        if not shipment or not shipment.shipment_id:
            return
        is_due = TaskKey(BOOKING, order_id) in local.tasks
        if is_due or shipment.status is not ShipmentStatus.INITIATED:
            left = tuple(other for other in world.answers if other != (order_id, answer))
            after, command = world._replace(answers=left), ANSWERS[answer](order_id)
            for step in self._execute(after, SHIPPING, command, f"carrier: {answer} {order_id}"):
                yield step._replace(will_happen=is_due)

    def _settle(self, world: World, order_id: str) -> Iterator[Step[World]]:
        """An operator ends an overdue shipment. Earlier it would do what the carrier's answers do."""
        shipment = self._local(world, SHIPPING).state.shipments.get(order_id)
        is_overdue = self._orders_in(world)[order_id].delivery_overdue_at is not None
        if world.pending or not shipment or not is_overdue:
            return
        for outcome in OUTCOMES:
            command = SettleShipment(order_id=order_id, outcome=outcome)
            yield from self._execute(world, SHIPPING, command, f"{order_id} is {outcome}")
        if shipment.reason == DECLINED:
            yield from self._execute(
                world, ORDER, _cancellation(order_id, "CUSTOMER"), f"{order_id} is asked about"
            )

    def _cancel(self, world: World, order_id: str) -> Iterator[Step[World]]:
        if world.budget.cancellations:
            command, after = _cancellation(order_id, "CUSTOMER"), world.less("cancellations")
            for step in self._execute(after, ORDER, command, f"{order_id} is cancelled"):
                yield step._replace(will_happen=False)

    def _expire(self, world: World, order_id: str) -> Iterator[Step[World]]:
        if TaskKey(DEADLINE, order_id) not in self._local(world, ORDER).tasks:
            return
        is_shipped = self._orders_in(world)[order_id].status is OrderStatus.SHIPPED
        command: Any = _cancellation(order_id, "EXPIRED")
        if is_shipped:
            command = ReportOverdue(order_id=order_id)
        label = f"{order_id} expires"
        if not world.pending:
            yield from self._execute(world, ORDER, command, label)
        elif world.budget.expiries:
            for step in self._execute(world.less("expiries"), ORDER, command, label):
                yield step._replace(will_happen=False)

    def _execute(self, world: World, index: int, command: Any, label: str) -> Iterator[Step[World]]:
        if effect := self._services.execute(index, world.locals[index], command):
            yield Step(label, world.after(index, effect), will_happen=True)

    def _local(self, world: World, index: int) -> Local:
        return self._services.local(world.locals[index])

    def statuses(self, world: World) -> tuple[str, ...]:
        """Of the orders."""
        return tuple(order.status.value for order in self._orders_in(world).values())

    def has_ended(self, world: World) -> bool:
        """Nothing is on its way, and every order is final."""
        return not world.pending and all(map(is_final, self._orders_in(world).values()))

    def disagreement(self, world: World, *, has_lost: bool) -> str | None:
        """What does not match although all orders have ended."""
        reservations = self._local(world, INVENTORY).state.reservations
        shipments = self._local(world, SHIPPING).state.shipments
        for order_id, order in self._orders_in(world).items():
            unreceived = {None} if has_lost and order.status in ENDED_EARLY else set()
            for part, allowed in (
                (reservations.get(order_id), RESERVATIONS_AT_THE_END[order.status]),
                (shipments.get(order_id), SHIPMENTS_AT_THE_END[order.status]),
            ):
                status = part.status if part else None
                if status not in allowed | unreceived:
                    return f"{order_id} is {order.status}, but {status}"
        return None

    def _orders_in(self, world: World) -> Any:
        return self._local(world, ORDER).state.orders


def _cancellation(order_id: str, reason: CancellationReason) -> RequestCancellation:
    return RequestCancellation(order_id=order_id, reason=reason)


def _book(order_id: str) -> DispatchShipment:
    return DispatchShipment(order_id=order_id, carrier="http", reference="R1")


def _deliver(order_id: str) -> CompleteShipment:
    return CompleteShipment(order_id=order_id, tracking_number="T1")


def _fail(order_id: str) -> FailShipment:
    return FailShipment(order_id=order_id, reason=DECLINED)


ANSWERS = {"accepts": _book, "delivers": _deliver, "fails": _fail}
