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
    DeliveryOverdue,
    OrderCancellationRequested,
    OrderCreated,
    OrderNudged,
    ShipmentCancelled,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
    StockReserved,
)
from shipping_service.carriers import Accepted, Answer, Booking, Carriers, Declined, Delivered
from shipping_service.domain import (
    CancelShipment,
    Command,
    CompleteShipment,
    DispatchShipment,
    FailShipment,
    RepeatOutcome,
    ReportDelay,
    Shipment,
    ShipmentStatus,
    ShippingState,
    StartShipment,
)

BOOKING = "booking"
WITHDRAWAL = "withdrawal"
OUTCOME = "outcome"
CARRIER = "carrier"
"""Of a task's payload; absent in a task of an earlier release."""
UNAVAILABLE = "CARRIER_UNAVAILABLE"
"""The reason of a shipment whose carrier never gave a clear answer."""
MAX_BOOKING_SECONDS = 20
"""A booking that was in progress when it was withdrawn has reached the carrier by then, or never will."""


Report = DispatchShipment | CompleteShipment | FailShipment


class BookingNotFound(Exception):
    """The booking to be withdrawn may still be on its way to the carrier."""


def cancel_shipment(requested: OrderCancellationRequested) -> CancelShipment:
    """The customer cancelled the order, or it timed out."""
    return CancelShipment(order_id=requested.order_id, reason=requested.reason)


def repeat_outcome(overdue: DeliveryOverdue) -> RepeatOutcome:
    """The order may not have received it."""
    return RepeatOutcome(order_id=overdue.order_id)


def schedule_bookings(carriers: Carriers) -> ScheduleRule[ShippingState]:
    """An initiated shipment is booked after its carrier's delay; one that ends without the carrier is withdrawn.

    The outcome is asked for if the carrier does not report it. A nudge replaces what was lost.
    """

    def schedule(state: ShippingState, recorded: RecordedEvent) -> Iterable[Change]:
        match recorded.event:
            case ShipmentInitiated(order_id=order_id):
                shipment = state.shipments[order_id]
                delay_seconds = carriers.of(shipment.carrier).delay_seconds(order_id)
                return _booking(shipment, delay_seconds=delay_seconds)
            case ShipmentDispatched(order_id=order_id):
                return _outcome(state.shipments[order_id], carriers)
            case OrderNudged(order_id=order_id) if order_id in state.shipments:
                shipment = state.shipments[order_id]
                return (
                    *_booking(shipment, only_if_missing=True),
                    *_outcome(shipment, carriers, only_if_missing=True),
                )
            case ShipmentCancelled(order_id=order_id, shipment_id=str(shipment_id)):
                # The booking may be on its way, or made and not yet recorded: withdraw it in any case.
                withdrawal = _withdrawal(state.shipments[order_id], shipment_id)
                return Cancel(kind=BOOKING, key=order_id), withdrawal
            case ShipmentFailed(shipment_id=shipment_id, reason=reason) if reason == UNAVAILABLE:
                # The carrier may have accepted it, and only the response was lost.
                return (_withdrawal(state.shipments[recorded.entity_id], shipment_id),)
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
        payload=msgspec.to_builtins(booking) | _carrier(shipment),
        only_if_missing=only_if_missing,
    )
    return (due,)


def _outcome(
    shipment: Shipment, carriers: Carriers, *, only_if_missing: bool = False
) -> tuple[Change, ...]:
    """Of a shipment that its carrier has; nothing if the carrier reports unasked, or was removed from the settings."""
    carrier = carriers.by_name.get(shipment.carrier or "")
    if shipment.status is not ShipmentStatus.DISPATCHED or carrier is None:
        return ()
    seconds = carrier.outcome_seconds(shipment.order_id)
    if seconds is None:
        return ()
    due = Schedule(
        kind=OUTCOME,
        key=shipment.order_id,
        delay_seconds=seconds,
        payload=_carrier(shipment),
        only_if_missing=only_if_missing,
    )
    return (due,)


def _withdrawal(shipment: Shipment, shipment_id: str) -> Schedule:
    return Schedule(kind=WITHDRAWAL, key=shipment_id, payload=_carrier(shipment))


def _carrier(shipment: Shipment) -> dict[str, str | None]:
    return {CARRIER: shipment.carrier}


def carrier_tasks(carriers: Carriers, attempts: int) -> tuple[TaskHandler, ...]:
    """Books until the carrier answers; if it never does, the shipment fails."""

    async def book(due: Task) -> Report:
        booking = msgspec.convert(due.payload, Booking)
        carrier = carriers.of(due.payload.get(CARRIER))
        return _report(booking.order_id, carrier.name, await carrier.book(booking, due.attempts))

    async def ask(due: Task) -> Report:
        carrier = carriers.of(due.payload.get(CARRIER))
        return _report(due.task_key, carrier.name, await carrier.outcome(due.task_key))

    def asked(due: Task) -> str:
        return actor.carrier(due.payload.get(CARRIER) or carriers.chosen)

    def give_up(due: Task, _error: str) -> FailShipment:
        return FailShipment(order_id=due.task_key, reason=UNAVAILABLE)

    def report(due: Task, failures: int) -> ReportDelay:
        return ReportDelay(order_id=due.task_key, attempts=failures)

    async def withdraw(due: Task) -> None:
        is_withdrawn = await carriers.of(due.payload.get(CARRIER)).withdraw(due.task_key)
        if not is_withdrawn and due.seconds_due(clock.now()) < MAX_BOOKING_SECONDS:
            raise BookingNotFound("the carrier has no such booking yet")

    return (
        TaskHandler(
            BOOKING,
            book,
            give_up,
            Retry(attempts=attempts),
            report=report,
            actor=asked,
        ),
        TaskHandler(WITHDRAWAL, withdraw),
        TaskHandler(OUTCOME, ask, actor=asked),
    )


def _report(order_id: str, carrier: str, answer: Answer) -> Report:
    match answer:
        case Accepted(reference=reference, tracking_number=number):
            return DispatchShipment(
                order_id=order_id, carrier=carrier, reference=reference, tracking_number=number
            )
        case Delivered(tracking_number=number):
            return CompleteShipment(order_id=order_id, tracking_number=number)
        case Declined(reason=reason):
            return FailShipment(order_id=order_id, reason=reason)


def subscriptions(carrier: str) -> tuple[Subscription[Command], ...]:
    """`carrier` is the name of the one that books new shipments."""

    def start_shipment(event: OrderCreated | StockReserved) -> StartShipment:
        """A shipment needs both events, in any order; `decide` waits for the second one."""
        return StartShipment(order_id=event.order_id, shipment_id=new_id(), carrier=carrier)

    return (
        on(OrderCreated, start_shipment),
        on(StockReserved, start_shipment),
        on(OrderCancellationRequested, cancel_shipment),
        on(DeliveryOverdue, repeat_outcome),
        on(OrderNudged),
    )
