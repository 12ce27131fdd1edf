"""The rules of shipping, which alone decides between shipping and cancelling: a shipment starts once and ends once.

A shipment is initiated when the order's address and its reserved stock have arrived, in any order; never for an order
that was cancelled before.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.contracts import (
    Address,
    BookingDelayed,
    LineItem,
    OrderCreated,
    OrderId,
    ShipmentCancellationRefused,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
    StockReserved,
)
from shared.contracts.shipping import LOST, RETURNED
from shared.contracts.types import MAX_TRACKING_NUMBER


class ShipmentStatus(StrEnum):
    INITIATED = "INITIATED"
    DISPATCHED = "DISPATCHED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TOO_LATE: Mapping[ShipmentStatus, Literal["DISPATCHED", "COMPLETED", "FAILED"]] = {
    ShipmentStatus.DISPATCHED: "DISPATCHED",
    ShipmentStatus.COMPLETED: "COMPLETED",
    ShipmentStatus.FAILED: "FAILED",
}
"""With these a shipment cannot be cancelled any more."""
Settlement = Literal["delivered", "lost", "returned"]
"""What an operator learned of a parcel."""
SETTLED_REASONS: Mapping[Settlement, str] = {"lost": LOST, "returned": RETURNED}


class Shipment(Struct, frozen=True, kw_only=True):
    """An order's shipment; without `shipment_id` if it was cancelled before it was initiated."""

    order_id: str
    shipment_id: str | None
    status: ShipmentStatus
    carrier: str | None = None
    """The carrier that is booked; None for one that an earlier release initiated and has not dispatched."""
    items: tuple[LineItem, ...] = ()
    shipping_address: Address | None = None
    reference: str | None = None
    """The carrier's own reference, from DISPATCHED on."""
    tracking_number: str | None = None
    reason: str | None = None
    note: str | None = None
    """Of the operator who settled it."""
    created_at: datetime
    updated_at: datetime


class AwaitedOrder(Struct, frozen=True, kw_only=True):
    """The part of an order that has arrived so far."""

    order_id: str
    is_created: bool = False
    """Whether OrderCreated has arrived, and with it the address (which may be absent)."""
    shipping_address: Address | None = None
    items: tuple[LineItem, ...] = ()
    """Its reserved stock; empty until StockReserved arrives."""


class ShippingState(Struct, frozen=True, kw_only=True):
    """The part of the service's state that a transaction touches."""

    shipments: Mapping[str, Shipment] = {}
    awaited: Mapping[str, AwaitedOrder] = {}


class StartShipment(Struct, frozen=True, kw_only=True):
    """Initiate the shipment, if address and stock have arrived."""

    order_id: OrderId
    shipment_id: str
    carrier: str | None = None


class DispatchShipment(Struct, frozen=True, kw_only=True):
    """Record that a carrier confirmed the booking."""

    order_id: OrderId
    carrier: str
    reference: str
    tracking_number: str | None = None


class ReportDelay(Struct, frozen=True, kw_only=True):
    """Publish how many attempts to book the shipment the carrier has not answered."""

    order_id: OrderId
    attempts: int


class CompleteShipment(Struct, frozen=True, kw_only=True):
    """Complete the shipment: the carrier delivered it."""

    order_id: OrderId
    tracking_number: str


class FailShipment(Struct, frozen=True, kw_only=True):
    """End the shipment: no carrier delivers it."""

    order_id: OrderId
    reason: str


class SettleShipment(Struct, frozen=True, kw_only=True):
    """End a dispatched shipment of which its carrier reports nothing."""

    order_id: OrderId
    outcome: Settlement
    note: str | None = None


class RepeatOutcome(Struct, frozen=True, kw_only=True):
    """Publish the shipment's outcome again, if it has one: the order waits for it."""

    order_id: OrderId


class CancelShipment(Struct, frozen=True, kw_only=True):
    """Cancel the shipment, for the customer or because the order timed out."""

    order_id: OrderId
    reason: str


Command = (
    StartShipment
    | ReportDelay
    | DispatchShipment
    | CompleteShipment
    | FailShipment
    | SettleShipment
    | RepeatOutcome
    | CancelShipment
)


def decide(state: ShippingState, command: Command) -> list[Event]:
    """The events that the command leads to; a shipment that has ended stays as it is.

    Raises Rejected, for SettleShipment only: `unknown-shipment`, `shipment-not-dispatched`, `shipment-ended`.
    """
    shipment = state.shipments.get(command.order_id)
    match command:
        case StartShipment():
            return [] if shipment else _start(state, command)
        case CancelShipment():
            return _decide_cancellation(shipment, command)
        case ReportDelay():
            return _delayed(shipment, command)
        case SettleShipment():
            return _settle(shipment, command)
        case RepeatOutcome():
            return _outcome(shipment) if shipment else []
        case DispatchShipment() | CompleteShipment() | FailShipment():
            if shipment is None:
                message = f"an outcome for order {command.order_id}, which has no shipment"
                raise LookupError(message)
            return _move(shipment, command)


def _start(state: ShippingState, command: StartShipment) -> list[Event]:
    order = state.awaited.get(command.order_id)
    if order is None or not order.is_created or not order.items:
        return []
    return [
        ShipmentInitiated(
            shipment_id=command.shipment_id,
            order_id=command.order_id,
            carrier=command.carrier,
            shipping_address=order.shipping_address,
            items=order.items,
        )
    ]


def _delayed(shipment: Shipment | None, command: ReportDelay) -> list[Event]:
    """Of a shipment that still waits for its carrier."""
    match shipment:
        case Shipment(status=ShipmentStatus.INITIATED, shipment_id=str(shipment_id)):
            delayed = BookingDelayed(
                shipment_id=shipment_id, order_id=command.order_id, attempts=command.attempts
            )
            return [delayed]
        case _:
            return []


def _decide_cancellation(shipment: Shipment | None, command: CancelShipment) -> list[Event]:
    """Too late once it is with the carrier or has ended otherwise; then its outcome is published again.

    The order service repeats its request at each deadline: if the broker lost the outcome, the repetition ends the order.
    """
    order_id = command.order_id
    if shipment is None:
        return [ShipmentCancelled(order_id=order_id, reason=command.reason)]
    status = TOO_LATE.get(shipment.status)
    if status is None:
        cancelled = ShipmentCancelled(
            order_id=order_id,
            shipment_id=shipment.shipment_id,
            reason=shipment.reason or command.reason,
        )
        return [cancelled]
    refused = ShipmentCancellationRefused(
        order_id=order_id,
        reason=f"the shipment is {status} already",
        shipment_status=status,
        carrier=shipment.carrier,
        tracking_number=shipment.tracking_number,
    )
    return [refused, *_outcome(shipment)]


def _outcome(shipment: Shipment) -> list[Event]:
    """The event that ended the shipment."""
    match shipment:
        case Shipment(
            shipment_id=str(shipment_id),
            status=ShipmentStatus.COMPLETED,
            tracking_number=str(number),
        ):
            return _completed(shipment, shipment_id, number, shipment.note)
        case Shipment(
            shipment_id=str(shipment_id), status=ShipmentStatus.FAILED, reason=str(reason)
        ):
            return _failed(shipment, shipment_id, reason, shipment.note)
        case _:
            return []


def _settle(shipment: Shipment | None, command: SettleShipment) -> list[Event]:
    """The same outcome again is published again: the order may not have received it."""
    if shipment is None or shipment.shipment_id is None:
        raise Rejected("unknown-shipment", f"there is no shipment of order {command.order_id}")
    reason = SETTLED_REASONS.get(command.outcome)
    match shipment.status:
        case ShipmentStatus.DISPATCHED if reason:
            return _failed(shipment, shipment.shipment_id, reason, command.note)
        case ShipmentStatus.DISPATCHED:
            number = shipment.tracking_number or (shipment.reference or "")[:MAX_TRACKING_NUMBER]
            return _completed(shipment, shipment.shipment_id, number, command.note)
        case ShipmentStatus.INITIATED:
            detail = "no carrier has confirmed it yet: cancel the order instead"
            raise Rejected("shipment-not-dispatched", detail)
        case ShipmentStatus.COMPLETED if reason is None:
            return _outcome(shipment)
        case ShipmentStatus.FAILED if reason == shipment.reason:
            return _outcome(shipment)
        case _:
            raise Rejected("shipment-ended", f"the shipment is {shipment.status} already")


def _move(
    shipment: Shipment, command: DispatchShipment | CompleteShipment | FailShipment
) -> list[Event]:
    """The table of a shipment's transitions; a pair that is not listed changes nothing."""
    shipment_id = shipment.shipment_id
    if shipment_id is None:  # the order was cancelled before its shipment started
        return []
    match shipment.status, command:
        case ShipmentStatus.INITIATED, DispatchShipment():
            dispatched = ShipmentDispatched(
                shipment_id=shipment_id,
                order_id=shipment.order_id,
                carrier=command.carrier,
                reference=command.reference,
                tracking_number=command.tracking_number,
            )
            return [dispatched]
        case ShipmentStatus.CANCELLED, DispatchShipment():
            # The carrier accepted it after all: publishing it again withdraws the booking.
            cancelled = ShipmentCancelled(
                order_id=shipment.order_id, shipment_id=shipment_id, reason=shipment.reason or ""
            )
            return [cancelled]
        case (
            (ShipmentStatus.INITIATED | ShipmentStatus.DISPATCHED),
            CompleteShipment(tracking_number=number),
        ):
            return _completed(shipment, shipment_id, number)
        case ((ShipmentStatus.INITIATED | ShipmentStatus.DISPATCHED), FailShipment(reason=reason)):
            return _failed(shipment, shipment_id, reason)
        case _:
            return []


def _completed(
    shipment: Shipment, shipment_id: str, tracking_number: str, note: str | None = None
) -> list[Event]:
    return [
        ShipmentCompleted(
            shipment_id=shipment_id,
            order_id=shipment.order_id,
            tracking_number=tracking_number,
            note=note,
        )
    ]


def _failed(
    shipment: Shipment, shipment_id: str, reason: str, note: str | None = None
) -> list[Event]:
    return [
        ShipmentFailed(
            shipment_id=shipment_id,
            order_id=shipment.order_id,
            reason=reason,
            items=shipment.items,
            note=note,
        )
    ]


def evolve(state: ShippingState, recorded: RecordedEvent) -> ShippingState:
    """The state after an event of a shipment, or of an order that awaits one."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case OrderCreated(order_id=order_id, shipping_address=address):
            order = _awaited(state, order_id)
            return _with_awaited(state, replace(order, is_created=True, shipping_address=address))
        case StockReserved(order_id=order_id, items=items):
            return _with_awaited(state, replace(_awaited(state, order_id), items=items))
        case ShipmentInitiated():
            initiated = Shipment(
                order_id=event.order_id,
                shipment_id=event.shipment_id,
                status=ShipmentStatus.INITIATED,
                carrier=event.carrier,
                items=event.items,
                shipping_address=event.shipping_address,
                created_at=at,
                updated_at=at,
            )
            return _with_shipment(state, initiated)
        case ShipmentDispatched() | ShipmentCompleted() | ShipmentFailed():
            shipment = _progressed(state.shipments[event.order_id], event)
            return _with_shipment(state, replace(shipment, updated_at=at))
        case ShipmentCancelled():
            return _with_shipment(state, _cancelled(state.shipments.get(event.order_id), event, at))
        case _:
            return state


def _progressed(
    shipment: Shipment, event: ShipmentDispatched | ShipmentCompleted | ShipmentFailed
) -> Shipment:
    match event:
        case ShipmentDispatched():
            return replace(
                shipment,
                status=ShipmentStatus.DISPATCHED,
                carrier=event.carrier,
                reference=event.reference,
                tracking_number=event.tracking_number,
            )
        case ShipmentCompleted(tracking_number=number, note=note):
            return replace(
                shipment, status=ShipmentStatus.COMPLETED, tracking_number=number, note=note
            )
        case ShipmentFailed(reason=reason, note=note):
            return replace(shipment, status=ShipmentStatus.FAILED, reason=reason, note=note)


def _cancelled(before: Shipment | None, event: ShipmentCancelled, at: datetime) -> Shipment:
    if before is None:
        return Shipment(
            order_id=event.order_id,
            shipment_id=None,
            status=ShipmentStatus.CANCELLED,
            reason=event.reason,
            created_at=at,
            updated_at=at,
        )
    return replace(before, status=ShipmentStatus.CANCELLED, reason=event.reason, updated_at=at)


def _awaited(state: ShippingState, order_id: str) -> AwaitedOrder:
    return state.awaited.get(order_id) or AwaitedOrder(order_id=order_id)


def _with_awaited(state: ShippingState, order: AwaitedOrder) -> ShippingState:
    return replace(state, awaited={**state.awaited, order.order_id: order})


def _with_shipment(state: ShippingState, shipment: Shipment) -> ShippingState:
    return replace(state, shipments={**state.shipments, shipment.order_id: shipment})
