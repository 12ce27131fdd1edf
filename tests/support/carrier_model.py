"""A carrier that takes bookings first and delivers later, called by shipping's real task handlers, without a network or a clock.

Requests may stay in flight for any time, answers get lost, and the task may be over meanwhile. Of some shipments it never
reports an outcome: an operator settles those.
"""

import random
from collections.abc import Callable
from datetime import timedelta

from shared.chassis.messages import clock
from shared.chassis.storage.task_queue import Task
from shared.chassis.testing import TaskKey
from shipping_service.carriers import Accepted, Booking, Carriers, CarrierUnavailable, Delivered
from shipping_service.domain import Settlement
from shipping_service.handlers import BOOKING, WITHDRAWAL, BookingNotFound, carrier_tasks
from tests.support.in_memory_shop import InMemoryShop, finished

HALF = 0.5
OUTCOMES: tuple[Settlement, ...] = ("delivered", "lost", "returned")
OFTEN = 3


class CarrierModel:
    """Ships what is booked and not withdrawn."""

    name = "http"

    def __init__(self, shop: InMemoryShop) -> None:
        self.bookings: set[str] = set()
        """The shipments that will be delivered."""
        self.under_way: list[Task] = []
        """Bookings that were sent and have not arrived; their task may be over by now."""
        self._received: set[str] = set()
        self._shop = shop
        carriers = Carriers({"simulated": self, self.name: self}, self.name)
        handlers = {handler.kind: handler for handler in carrier_tasks(carriers, attempts=8)}
        self._booking, self._withdrawal = handlers[BOOKING], handlers[WITHDRAWAL]

    def delay_seconds(self, order_id: str) -> float:
        return 0

    async def book(self, booking: Booking, attempt: int) -> Accepted:
        if booking.shipment_id not in self._received:
            self.bookings.add(booking.shipment_id)
        self._received.add(booking.shipment_id)
        return Accepted(reference="R1")

    def outcome_seconds(self, order_id: str) -> None:
        """It calls back, or not."""

    async def outcome(self, order_id: str) -> Delivered:
        raise CarrierUnavailable

    async def withdraw(self, shipment_id: str) -> bool:
        was_booked = shipment_id in self.bookings
        self.bookings.discard(shipment_id)
        return was_booked

    def has_signed(self, body: bytes, signature: str) -> bool:
        return True

    async def close(self) -> None:
        pass

    def send(self, order_id: str) -> None:
        """The order's booking sets out, perhaps not for the first time."""
        self.under_way.append(self._task(TaskKey(BOOKING, order_id)))

    def arrive(self, index: int, *, is_answered: bool) -> None:
        """A booking reaches the carrier; its answer may be lost, and then its task is still due."""
        task = self.under_way.pop(index)
        command = finished(self._booking.run(task))
        if is_answered:
            self._shop.finish(TaskKey(BOOKING, task.task_key), command)

    def lose(self, index: int) -> None:
        self.under_way.pop(index)

    def give_up(self, order_id: str) -> None:
        """There was no clear answer, and it was not the first time."""
        assert self._booking.give_up
        due = TaskKey(BOOKING, order_id)
        self._shop.finish(due, self._booking.give_up(self._task(due), "timeout"))

    def do_something(self, draw: random.Random) -> None:
        """One random step: answers come late, twice, or never."""
        due, initiated = self._shop.bookings_due(), self._shop.initiated()
        possible: list[Callable[[], None]] = [self.withdraw_all_due]
        if due:
            possible += [lambda: self.send(draw.choice(due))] * OFTEN
            possible += [lambda: self.give_up(draw.choice(due))]
        if self.under_way:
            index = draw.randrange(len(self.under_way))
            possible += [lambda: self.arrive(index, is_answered=draw.random() < HALF)] * OFTEN
            possible += [lambda: self.lose(index)]
        if dispatched := self._shop.dispatched():
            outcome = draw.choice(OUTCOMES)
            possible += [lambda: self._shop.settle(draw.choice(dispatched), outcome)]
        if initiated:
            is_delivered = draw.random() < HALF
            possible += [lambda: self._shop.confirm_booking(draw.choice(initiated))]
            possible += [
                lambda: self._shop.answer_booking(draw.choice(initiated), delivered=is_delivered)
            ]
        draw.choice(possible)()

    def withdraw_all_due(self) -> None:
        for due in list(self._shop.shipping.tasks):
            if due.kind == WITHDRAWAL:
                self._try_to_withdraw(due)

    def _try_to_withdraw(self, due: TaskKey) -> None:
        try:
            finished(self._withdrawal.run(self._task(due)))
        except BookingNotFound:
            return
        self._shop.finish(due, None)

    def _task(self, due: TaskKey) -> Task:
        """The task as the writer would have stored it; long ago, unless a booking may still be in flight."""
        payload = self._shop.shipping.tasks[due].payload
        awaited = {task.payload["shipmentId"] for task in self.under_way}
        age = timedelta(0) if due.key in awaited else timedelta(hours=1)
        then = clock.now() - age
        return Task("t1", *due, payload, then, 0, then, None, due.key, None)
