"""What shipping does on hearing the others, and how a shipment gets to its carrier."""

from collections.abc import Iterable

import msgspec

from shared.chassis.engine.task_runner import Retry, TaskHandler
from shared.chassis.messages import clock
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.decider import ScheduleRule, Subscription, on
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.schedule import Cancel, Change, Schedule
from shared.chassis.storage.task_queue import Task
from shared.contracts import (
    OrderCancellationRequested,
    OrderCreated,
    ShipmentCancelled,
    ShipmentFailed,
    ShipmentInitiated,
    StockReserved,
)
from shipping_service.carriers import Accepted, Booking, Carrier, Declined, Delivered
from shipping_service.domain import (
    CancelShipment,
    Command,
    CompleteShipment,
    DispatchShipment,
    FailShipment,
    ShippingState,
    StartShipment,
)

BOOKING = "booking"
WITHDRAWAL = "withdrawal"
UNAVAILABLE = "CARRIER_UNAVAILABLE"
"""The reason of a shipment whose carrier never gave a clear answer."""
MAX_BOOKING_SECONDS = 20
"""A booking that was under way when it was withdrawn has reached the carrier by then, or never will."""


class BookingNotFound(Exception):
    """What is to be withdrawn may still be on its way to the carrier."""


def start_shipment(known: OrderCreated | StockReserved) -> StartShipment:
    """One more thing is known of the order; perhaps it was the last."""
    return StartShipment(order_id=known.order_id, shipment_id=new_id())


def cancel_shipment(requested: OrderCancellationRequested) -> CancelShipment:
    """Somebody, or the clock, wants it stopped."""
    return CancelShipment(order_id=requested.order_id, reason=requested.reason)


def bookings(carrier: Carrier) -> ScheduleRule[ShippingState]:
    """A shipment begun is booked when the carrier wants it; one that ends without him is withdrawn."""

    def schedule(_dock: ShippingState, recorded: RecordedEvent) -> Iterable[Change]:
        match recorded.event:
            case ShipmentInitiated() as begun:
                return (_booking(begun, carrier.delay_seconds(begun.order_id)),)
            case ShipmentCancelled(order_id=order_id, shipment_id=str(shipment_id)):
                # The booking may be on its way, or made and not yet recorded: withdraw it unseen.
                return (
                    Cancel(kind=BOOKING, key=order_id),
                    Schedule(kind=WITHDRAWAL, key=shipment_id),
                )
            case ShipmentFailed(shipment_id=shipment_id, reason=reason) if reason == UNAVAILABLE:
                # It may have been taken all the same, and only the answer lost.
                return (Schedule(kind=WITHDRAWAL, key=shipment_id),)
            case _:
                return ()

    return schedule


def _booking(begun: ShipmentInitiated, delay_seconds: float) -> Schedule:
    booking = Booking(
        shipment_id=begun.shipment_id,
        order_id=begun.order_id,
        items=begun.items,
        shipping_address=begun.shipping_address,
    )
    return Schedule(
        kind=BOOKING,
        key=begun.order_id,
        delay_seconds=delay_seconds,
        payload=msgspec.to_builtins(booking),
    )


def carrier_jobs(carrier: Carrier, attempts: int) -> tuple[TaskHandler, ...]:
    """Ask the carrier until it answers; if it never does, the shipment fails."""

    async def book(due: Task) -> DispatchShipment | CompleteShipment | FailShipment:
        order_id = due.task_key
        booking = msgspec.convert(due.payload, Booking)
        match await carrier.book(booking, due.attempts):
            case Accepted(reference=reference):
                return DispatchShipment(
                    order_id=order_id, carrier=carrier.name, reference=reference
                )
            case Delivered(tracking_number=tracking_number):
                return CompleteShipment(order_id=order_id, tracking_number=tracking_number)
            case Declined(reason=reason):
                return FailShipment(order_id=order_id, reason=reason)

    def give_up(due: Task, _error: str) -> FailShipment:
        return FailShipment(order_id=due.task_key, reason=UNAVAILABLE)

    async def withdraw(due: Task) -> None:
        is_withdrawn = await carrier.withdraw(due.task_key)
        if not is_withdrawn and due.seconds_due(clock.now()) < MAX_BOOKING_SECONDS:
            raise BookingNotFound("the carrier knows of no such booking, yet")

    return (
        TaskHandler(BOOKING, book, give_up, Retry(attempts=attempts)),
        TaskHandler(WITHDRAWAL, withdraw),
    )


SUBSCRIPTIONS: tuple[Subscription[Command], ...] = (
    on(OrderCreated, start_shipment),
    on(StockReserved, start_shipment),
    on(OrderCancellationRequested, cancel_shipment),
)
