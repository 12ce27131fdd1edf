"""Events of the shipping service."""

from typing import Annotated, ClassVar

import msgspec

from shared.chassis.messages.event import Event, Id, Label
from shared.contracts.types import Address, LineItems, Name, OrderId, Reason, TrackingNumber

Attempts = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class ShippingEvent(Event, frozen=True, kw_only=True):
    """Published by the shipping service about an order."""

    SOURCE: ClassVar[str] = "shipping"
    ENTITY: ClassVar[str] = "order_id"


class ShipmentEvent(ShippingEvent, frozen=True, kw_only=True):
    """Published about a shipment that was initiated for an order."""

    shipment_id: Id
    order_id: OrderId


class ShipmentInitiated(ShipmentEvent, frozen=True, kw_only=True):
    """Created for a placed order whose stock is reserved; a carrier will be booked."""

    SCHEMA_VERSION: ClassVar[int] = 2

    shipping_address: Address | None = None
    items: LineItems


class BookingDelayed(ShipmentEvent, frozen=True, kw_only=True):
    """The carrier gave no clear answer to this number of attempts; it is asked again."""

    attempts: Attempts


class ShipmentDispatched(ShipmentEvent, frozen=True, kw_only=True):
    """A carrier confirmed the booking, under its own `reference`: the order cannot be cancelled any more."""

    carrier: Label
    reference: Name


class ShipmentCompleted(ShipmentEvent, frozen=True, kw_only=True):
    """The carrier delivered the shipment."""

    tracking_number: TrackingNumber


class ShipmentFailed(ShipmentEvent, frozen=True, kw_only=True):
    """No carrier delivers it: rejected permanently, or every attempt failed."""

    reason: Reason
    items: LineItems


class ShipmentCancelled(ShippingEvent, frozen=True, kw_only=True):
    """The order will not be shipped; `shipment_id` is absent if no shipment was initiated."""

    order_id: OrderId
    shipment_id: Id | None = None
    reason: Reason


class ShipmentCancellationRefused(ShippingEvent, frozen=True, kw_only=True):
    """Too late to cancel: the shipment is with the carrier, or over."""

    order_id: OrderId
    reason: Reason
