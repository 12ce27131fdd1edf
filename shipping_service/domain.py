"""The rules of shipping, which alone decides between shipping and cancelling: a shipment starts once and ends once.

A shipment is initiated when the order's address and its reserved stock have arrived, in any order; never for an order
that was cancelled before.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
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


class ShipmentStatus(StrEnum):
    INITIATED = "INITIATED"
    DISPATCHED = "DISPATCHED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Shipment(Struct, frozen=True, kw_only=True):
    """An order's shipment; without `shipment_id` if it was cancelled before it was initiated."""

    order_id: str
    shipment_id: str | None
    status: ShipmentStatus
    items: tuple[LineItem, ...] = ()
    shipping_address: Address | None = None
    reference: str | None = None
    """The carrier's own reference, from DISPATCHED on."""
    tracking_number: str | None = None
    reason: str | None = None
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


class DispatchShipment(Struct, frozen=True, kw_only=True):
    """Record that a carrier confirmed the booking."""

    order_id: OrderId
    carrier: str
    reference: str


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
    | CancelShipment
)


def decide(state: ShippingState, command: Command) -> list[Event]:
    """The events that the command leads to; a shipment that has ended stays as it is."""
    shipment = state.shipments.get(command.order_id)
    match command:
        case StartShipment():
            return [] if shipment else _start(state, command)
        case CancelShipment():
            return _decide_cancellation(shipment, command)
        case ReportDelay():
            return _delayed(shipment, command)
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
    if shipment.status in {ShipmentStatus.INITIATED, ShipmentStatus.CANCELLED}:
        cancelled = ShipmentCancelled(
            order_id=order_id,
            shipment_id=shipment.shipment_id,
            reason=shipment.reason or command.reason,
        )
        return [cancelled]
    refused = ShipmentCancellationRefused(
        order_id=order_id, reason=f"the shipment is {shipment.status} already"
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
            return _completed(shipment, shipment_id, number)
        case Shipment(
            shipment_id=str(shipment_id), status=ShipmentStatus.FAILED, reason=str(reason)
        ):
            return _failed(shipment, shipment_id, reason)
        case _:
            return []


def _move(
    shipment: Shipment, command: DispatchShipment | CompleteShipment | FailShipment
) -> list[Event]:
    """The table of a shipment's transitions; a pair that is not listed changes nothing."""
    shipment_id = shipment.shipment_id
    if shipment_id is None:  # the order was cancelled before its shipment started
        return []
    match shipment.status, command:
        case ShipmentStatus.INITIATED, DispatchShipment(carrier=carrier, reference=reference):
            dispatched = ShipmentDispatched(
                shipment_id=shipment_id,
                order_id=shipment.order_id,
                carrier=carrier,
                reference=reference,
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


def _completed(shipment: Shipment, shipment_id: str, tracking_number: str) -> list[Event]:
    return [
        ShipmentCompleted(
            shipment_id=shipment_id,
            order_id=shipment.order_id,
            tracking_number=tracking_number,
        )
    ]


def _failed(shipment: Shipment, shipment_id: str, reason: str) -> list[Event]:
    return [
        ShipmentFailed(
            shipment_id=shipment_id,
            order_id=shipment.order_id,
            reason=reason,
            items=shipment.items,
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
                items=event.items,
                shipping_address=event.shipping_address,
                created_at=at,
                updated_at=at,
            )
            return _with_shipment(state, initiated)
        case ShipmentDispatched(reference=reference):
            return _with_shipment(
                state, _updated(state, recorded, ShipmentStatus.DISPATCHED, reference=reference)
            )
        case ShipmentCompleted(tracking_number=number):
            return _with_shipment(
                state, _updated(state, recorded, ShipmentStatus.COMPLETED, tracking_number=number)
            )
        case ShipmentFailed(reason=reason):
            return _with_shipment(
                state, _updated(state, recorded, ShipmentStatus.FAILED, reason=reason)
            )
        case ShipmentCancelled():
            return _with_shipment(state, _cancelled(state.shipments.get(event.order_id), event, at))
        case _:
            return state


def _updated(
    state: ShippingState, recorded: RecordedEvent, status: ShipmentStatus, **changes: str
) -> Shipment:
    shipment = state.shipments[recorded.entity_id]
    return replace(shipment, status=status, updated_at=recorded.recorded_at, **changes)


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
