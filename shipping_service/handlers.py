"""The commands that events lead to, and the tasks that book and withdraw shipments."""

from collections.abc import Iterable

import msgspec

from shared.chassis.engine.task_runner import Retry, TaskHandler
from shared.chassis.messages import actor, clock
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.decider import ScheduleRule, Subscription, on
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.schedule import Cancel, Change, Schedule
from shared.chassis.storage.task_queue import Task
from shared.contracts import (
    OrderCancellationRequested,
    OrderCreated,
    OrderNudged,
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
    ReportDelay,
    Shipment,
    ShipmentStatus,
    ShippingState,
    StartShipment,
)

BOOKING = "booking"
WITHDRAWAL = "withdrawal"
UNAVAILABLE = "CARRIER_UNAVAILABLE"
"""The reason of a shipment whose carrier never gave a clear answer."""
MAX_BOOKING_SECONDS = 20
"""A booking that was in progress when it was withdrawn has reached the carrier by then, or never will."""


class BookingNotFound(Exception):
    """The booking to be withdrawn may still be on its way to the carrier."""


def start_shipment(event: OrderCreated | StockReserved) -> StartShipment:
    """A shipment needs both events, in any order; `decide` waits for the second one."""
    return StartShipment(order_id=event.order_id, shipment_id=new_id())


def cancel_shipment(requested: OrderCancellationRequested) -> CancelShipment:
    """The customer cancelled the order, or it timed out."""
    return CancelShipment(order_id=requested.order_id, reason=requested.reason)


def schedule_bookings(carrier: Carrier) -> ScheduleRule[ShippingState]:
    """An initiated shipment is booked after the carrier's delay; one that ends without the carrier is withdrawn.

    A nudge replaces a booking that was lost.
    """

    def schedule(state: ShippingState, recorded: RecordedEvent) -> Iterable[Change]:
        match recorded.event:
            case ShipmentInitiated(order_id=order_id):
                delay_seconds = carrier.delay_seconds(order_id)
                return _booking(state.shipments[order_id], delay_seconds=delay_seconds)
            case OrderNudged(order_id=order_id) if shipment := state.shipments.get(order_id):
                return _booking(shipment, only_if_missing=True)
            case ShipmentCancelled(order_id=order_id, shipment_id=str(shipment_id)):
                # The booking may be on its way, or made and not yet recorded: withdraw it in any case.
                return (
                    Cancel(kind=BOOKING, key=order_id),
                    Schedule(kind=WITHDRAWAL, key=shipment_id),
                )
            case ShipmentFailed(shipment_id=shipment_id, reason=reason) if reason == UNAVAILABLE:
                # The carrier may have accepted it, and only the response was lost.
                return (Schedule(kind=WITHDRAWAL, key=shipment_id),)
            case _:
                return ()

    return schedule


def _booking(
    shipment: Shipment, *, delay_seconds: float = 0, only_if_missing: bool = False
) -> tuple[Change, ...]:
    """Of a shipment that still waits for its carrier."""
    if shipment.status is not ShipmentStatus.INITIATED or shipment.shipment_id is None:
        return ()
    booking = Booking(
        shipment_id=shipment.shipment_id,
        order_id=shipment.order_id,
        items=shipment.items,
        shipping_address=shipment.shipping_address,
    )
    due = Schedule(
        kind=BOOKING,
        key=shipment.order_id,
        delay_seconds=delay_seconds,
        payload=msgspec.to_builtins(booking),
        only_if_missing=only_if_missing,
    )
    return (due,)


def carrier_tasks(carrier: Carrier, attempts: int) -> tuple[TaskHandler, ...]:
    """Books until the carrier answers; if it never does, the shipment fails."""

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

    def report(due: Task, failures: int) -> ReportDelay:
        return ReportDelay(order_id=due.task_key, attempts=failures)

    async def withdraw(due: Task) -> None:
        is_withdrawn = await carrier.withdraw(due.task_key)
        if not is_withdrawn and due.seconds_due(clock.now()) < MAX_BOOKING_SECONDS:
            raise BookingNotFound("the carrier has no such booking yet")

    return (
        TaskHandler(
            BOOKING,
            book,
            give_up,
            Retry(attempts=attempts),
            report=report,
            actor=lambda _: actor.carrier(carrier.name),
        ),
        TaskHandler(WITHDRAWAL, withdraw),
    )


SUBSCRIPTIONS: tuple[Subscription[Command], ...] = (
    on(OrderCreated, start_shipment),
    on(StockReserved, start_shipment),
    on(OrderCancellationRequested, cancel_shipment),
    on(OrderNudged),
)
