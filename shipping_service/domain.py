"""The rules of shipping, the shop's one referee: a shipment is begun once, and ends once.

An order is shipped when both its address and its stock are known, whichever comes first; one that was
cancelled before is never begun.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
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


class Status(StrEnum):
    """Where a shipment stands."""

    INITIATED = "INITIATED"
    DISPATCHED = "DISPATCHED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Shipment(Struct, frozen=True, kw_only=True):
    """An order's one shipment; without `shipment_id` where it was cancelled before it was begun."""

    order_id: str
    shipment_id: str | None
    status: Status
    items: tuple[LineItem, ...] = ()
    shipping_address: dict[str, str] | None = None
    reference: str | None = None
    """The carrier's own name for it, once it is DISPATCHED."""
    tracking_number: str | None = None
    reason: str | None = None
    created_at: datetime
    updated_at: datetime


class AwaitedOrder(Struct, frozen=True, kw_only=True):
    """What has been heard of an order so far."""

    order_id: str
    is_created: bool = False
    """Whether OrderCreated has come, and with it the address (which may be absent)."""
    shipping_address: dict[str, str] | None = None
    items: tuple[LineItem, ...] = ()
    """What inventory holds for it; empty until StockReserved comes."""


class ShippingState(Struct, frozen=True, kw_only=True):
    """The part of the service's state that a batch touches."""

    shipments: Mapping[str, Shipment] = {}
    awaited: Mapping[str, AwaitedOrder] = {}


class StartShipment(Struct, frozen=True, kw_only=True):
    """Begin, if all is known."""

    order_id: OrderId
    shipment_id: str


class DispatchShipment(Struct, frozen=True, kw_only=True):
    """A carrier has confirmed the booking."""

    order_id: OrderId
    carrier: str
    reference: str


class CompleteShipment(Struct, frozen=True, kw_only=True):
    """The carrier has delivered."""

    order_id: OrderId
    tracking_number: str


class FailShipment(Struct, frozen=True, kw_only=True):
    """No carrier will."""

    order_id: OrderId
    reason: str


class CancelShipment(Struct, frozen=True, kw_only=True):
    """Somebody wants the order stopped."""

    order_id: OrderId
    reason: str


Command = StartShipment | DispatchShipment | CompleteShipment | FailShipment | CancelShipment


def decide(dock: ShippingState, command: Command) -> list[Event]:
    """The events that the command leads to; a shipment that has ended stays as it is."""
    shipment = dock.shipments.get(command.order_id)
    match command:
        case StartShipment():
            return [] if shipment else _start(dock, command)
        case CancelShipment():
            return _answer(shipment, command)
        case DispatchShipment() | CompleteShipment() | FailShipment():
            if shipment is None:
                message = f"an outcome for order {command.order_id}, which was never shipped"
                raise LookupError(message)
            return _move(shipment, command)


def _start(dock: ShippingState, command: StartShipment) -> list[Event]:
    order = dock.awaited.get(command.order_id)
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


def _answer(shipment: Shipment | None, command: CancelShipment) -> list[Event]:
    """Too late once it is with the carrier or has ended otherwise; how it has ended is then repeated.

    The order asks again at each deadline: if the broker has lost the outcome, the repetition ends the order.
    """
    order_id = command.order_id
    if shipment is None:
        return [ShipmentCancelled(order_id=order_id, reason=command.reason)]
    if shipment.status in {Status.INITIATED, Status.CANCELLED}:
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
    """The event that ended the shipment, once more."""
    match shipment:
        case Shipment(
            status=Status.COMPLETED, shipment_id=str(shipment_id), tracking_number=str(number)
        ):
            return [
                ShipmentCompleted(
                    shipment_id=shipment_id, order_id=shipment.order_id, tracking_number=number
                )
            ]
        case Shipment(status=Status.FAILED, shipment_id=str(shipment_id), reason=str(reason)):
            return [
                ShipmentFailed(
                    shipment_id=shipment_id,
                    order_id=shipment.order_id,
                    reason=reason,
                    items=shipment.items,
                )
            ]
        case _:
            return []


def _move(
    shipment: Shipment, command: DispatchShipment | CompleteShipment | FailShipment
) -> list[Event]:
    """The table of a shipment's transitions; what is not listed changes nothing."""
    order_id, shipment_id = shipment.order_id, shipment.shipment_id
    if shipment_id is None:
        return []
    match shipment.status, command:
        case Status.INITIATED, DispatchShipment(carrier=carrier, reference=reference):
            return [
                ShipmentDispatched(
                    shipment_id=shipment_id,
                    order_id=order_id,
                    carrier=carrier,
                    reference=reference,
                )
            ]
        case Status.CANCELLED, DispatchShipment():
            # The carrier took it after all: saying it again has the booking withdrawn.
            return [
                ShipmentCancelled(
                    order_id=order_id, shipment_id=shipment_id, reason=shipment.reason or ""
                )
            ]
        case ((Status.INITIATED | Status.DISPATCHED), CompleteShipment(tracking_number=number)):
            return [
                ShipmentCompleted(
                    shipment_id=shipment_id, order_id=order_id, tracking_number=number
                )
            ]
        case ((Status.INITIATED | Status.DISPATCHED), FailShipment(reason=reason)):
            return [
                ShipmentFailed(
                    shipment_id=shipment_id,
                    order_id=order_id,
                    reason=reason,
                    items=shipment.items,
                )
            ]
        case _:
            return []


def evolve(dock: ShippingState, recorded: RecordedEvent) -> ShippingState:
    """The state after an event: one of ours, or what the others say of an order."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case OrderCreated(order_id=order_id, shipping_address=address):
            order = _awaited(dock, order_id)
            return _with_awaited(dock, replace(order, is_created=True, shipping_address=address))
        case StockReserved(order_id=order_id, items=items):
            return _with_awaited(dock, replace(_awaited(dock, order_id), items=items))
        case ShipmentInitiated():
            begun = Shipment(
                order_id=event.order_id,
                shipment_id=event.shipment_id,
                status=Status.INITIATED,
                items=event.items,
                shipping_address=event.shipping_address,
                created_at=at,
                updated_at=at,
            )
            return _with_shipment(dock, begun)
        case ShipmentDispatched(order_id=order_id, reference=reference):
            dispatched = replace(
                dock.shipments[order_id],
                status=Status.DISPATCHED,
                reference=reference,
                updated_at=at,
            )
            return _with_shipment(dock, dispatched)
        case ShipmentCompleted(order_id=order_id, tracking_number=number):
            done = replace(
                dock.shipments[order_id],
                status=Status.COMPLETED,
                tracking_number=number,
                updated_at=at,
            )
            return _with_shipment(dock, done)
        case ShipmentFailed(order_id=order_id, reason=reason):
            failed = replace(
                dock.shipments[order_id], status=Status.FAILED, reason=reason, updated_at=at
            )
            return _with_shipment(dock, failed)
        case ShipmentCancelled():
            return _with_shipment(dock, _cancelled(dock.shipments.get(event.order_id), event, at))
        case _:
            return dock


def _cancelled(before: Shipment | None, event: ShipmentCancelled, at: datetime) -> Shipment:
    if before is None:
        return Shipment(
            order_id=event.order_id,
            shipment_id=None,
            status=Status.CANCELLED,
            reason=event.reason,
            created_at=at,
            updated_at=at,
        )
    return replace(before, status=Status.CANCELLED, reason=event.reason, updated_at=at)


def _awaited(dock: ShippingState, order_id: str) -> AwaitedOrder:
    return dock.awaited.get(order_id) or AwaitedOrder(order_id=order_id)


def _with_awaited(dock: ShippingState, order: AwaitedOrder) -> ShippingState:
    return replace(dock, awaited={**dock.awaited, order.order_id: order})


def _with_shipment(dock: ShippingState, shipment: Shipment) -> ShippingState:
    return replace(dock, shipments={**dock.shipments, shipment.order_id: shipment})
