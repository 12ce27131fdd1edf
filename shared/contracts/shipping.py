"""Events of the shipping service."""

from typing import Annotated, ClassVar, Literal

import msgspec

from shared.chassis.messages.event import Event, Id, Label
from shared.contracts.types import Address, LineItems, Name, OrderId, Reason, TrackingNumber

LOST, RETURNED = "LOST", "RETURNED"
"""The reasons of a shipment that failed after its dispatch."""

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

    carrier: Label | None = None
    """The carrier that will be booked; absent in events of earlier releases, which knew only one."""
    shipping_address: Address | None = None
    items: LineItems


class BookingDelayed(ShipmentEvent, frozen=True, kw_only=True):
    """The carrier gave no clear answer to this number of attempts; it is asked again."""

    attempts: Attempts


class ShipmentDispatched(ShipmentEvent, frozen=True, kw_only=True):
    """A carrier confirmed the booking, under its own `reference`: the order cannot be cancelled any more."""

    carrier: Label
    reference: Name
    tracking_number: TrackingNumber | None = None
    """If the carrier gives it with its confirmation."""


class ShipmentCompleted(ShipmentEvent, frozen=True, kw_only=True):
    """The carrier delivered the shipment, or an operator learned that it did."""

    tracking_number: TrackingNumber
    note: Reason | None = None
    """An operator's; for the shop only."""


class ShipmentFailed(ShipmentEvent, frozen=True, kw_only=True):
    """No carrier delivers it: rejected permanently, every attempt failed, or the parcel was lost or returned."""

    reason: Reason
    """`LOST` and `RETURNED` are of a dispatched parcel: what was lost does not come back into stock."""
    items: LineItems
    note: Reason | None = None
    """An operator's; for the shop only."""


class ShipmentCancelled(ShippingEvent, frozen=True, kw_only=True):
    """The order will not be shipped; `shipment_id` is absent if no shipment was initiated."""

    order_id: OrderId
    shipment_id: Id | None = None
    reason: Reason


class ShipmentCancellationRefused(ShippingEvent, frozen=True, kw_only=True):
    """Too late to cancel: the shipment is with the carrier, or over."""

    order_id: OrderId
    reason: Reason
    shipment_status: Literal["DISPATCHED", "COMPLETED", "FAILED"] | None = None
    """Absent in events of earlier releases."""
    carrier: Label | None = None
    tracking_number: TrackingNumber | None = None
