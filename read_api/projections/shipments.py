"""Shipments, from the events of the shipping service."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from read_api.models import Shipment, ShipmentStatus
from read_api.projections.unknown_entity import require
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
    BookingDelayed,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
)

CONSUMES = (
    ShipmentInitiated,
    BookingDelayed,
    ShipmentDispatched,
    ShipmentCompleted,
    ShipmentFailed,
    ShipmentCancelled,
)


class Shipments(Struct, frozen=True, kw_only=True):
    """By order id."""

    shipments: Mapping[str, Shipment] = {}


def evolve(state: Shipments, recorded: RecordedEvent) -> Shipments:
    """The shipments after one of the consumed events. Raises UnknownEntity."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case ShipmentInitiated():
            shipment = Shipment(
                order_id=event.order_id,
                shipment_id=event.shipment_id,
                status=ShipmentStatus.INITIATED,
                carrier=event.carrier,
                items=event.items,
                shipping_address=event.shipping_address,
                created_at=at,
                updated_at=at,
            )
        case BookingDelayed(order_id=order_id, attempts=attempts):  # no progress: no later update
            delayed = replace(require(state.shipments, order_id), booking_attempts=attempts)
            return _with(state, delayed)
        case ShipmentCancelled():
            shipment = _cancelled(state, event, at)
        case ShipmentDispatched() | ShipmentCompleted() | ShipmentFailed():
            shipment = _apply(require(state.shipments, event.order_id), event)
        case _:
            return state
    return _with(state, replace(shipment, updated_at=at))


def _with(state: Shipments, shipment: Shipment) -> Shipments:
    return Shipments(shipments={**state.shipments, shipment.order_id: shipment})


def _cancelled(state: Shipments, event: ShipmentCancelled, at: datetime) -> Shipment:
    """A shipment may be cancelled before it was initiated."""
    order_id, status = event.order_id, ShipmentStatus.CANCELLED
    shipment = state.shipments.get(order_id) or Shipment(
        order_id=order_id, status=status, created_at=at, updated_at=at
    )
    return replace(shipment, status=status, reason=event.reason)


def _apply(
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
        case ShipmentCompleted(tracking_number=number):
            return replace(shipment, status=ShipmentStatus.COMPLETED, tracking_number=number)
        case ShipmentFailed(reason=reason):
            return replace(shipment, status=ShipmentStatus.FAILED, reason=reason)
