"""Shipments, as the shipping service tells them."""

from datetime import datetime

from msgspec.structs import replace

from read_api.models import ReadModels, Shipment, ShipmentStatus
from read_api.projections.known import known
from shared.contracts import (
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
)


def shipped(
    view: ReadModels,
    event: ShipmentInitiated
    | ShipmentDispatched
    | ShipmentCompleted
    | ShipmentFailed
    | ShipmentCancelled,
    at: datetime,
) -> Shipment:
    """The shipment as it is from now on; raises UnknownEntity."""
    order_id = event.order_id
    match event:
        case ShipmentInitiated():
            return Shipment(
                order_id=order_id,
                shipment_id=event.shipment_id,
                status=ShipmentStatus.INITIATED,
                items=event.items,
                shipping_address=event.shipping_address,
                created_at=at,
                updated_at=at,
            )
        case ShipmentCancelled(reason=reason):
            begun = view.shipments.get(order_id) or Shipment(
                order_id=order_id, status=ShipmentStatus.CANCELLED, created_at=at, updated_at=at
            )
            return replace(begun, status=ShipmentStatus.CANCELLED, reason=reason, updated_at=at)
        case ShipmentDispatched(carrier=carrier, reference=reference):
            return replace(
                known(view.shipments, order_id),
                status=ShipmentStatus.DISPATCHED,
                carrier=carrier,
                reference=reference,
                updated_at=at,
            )
        case ShipmentCompleted(tracking_number=number):
            begun = known(view.shipments, order_id)
            return replace(
                begun, status=ShipmentStatus.COMPLETED, tracking_number=number, updated_at=at
            )
        case ShipmentFailed(reason=reason):
            begun = known(view.shipments, order_id)
            return replace(begun, status=ShipmentStatus.FAILED, reason=reason, updated_at=at)
