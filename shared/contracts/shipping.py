"""What the shipping service says."""

from typing import ClassVar

from shared.contracts.event import (
    Address,
    Event,
    Id,
    LineItems,
    Name,
    Reason,
    TrackingNumber,
    Word,
)


class ShipmentInitiated(Event, frozen=True, kw_only=True):
    """Stock and address are known: a carrier is being asked."""

    KEY: ClassVar[str] = "order_id"

    shipment_id: Id
    order_id: Id
    shipping_address: Address | None = None
    items: LineItems


class ShipmentDispatched(Event, frozen=True, kw_only=True):
    """A carrier has confirmed the booking, under its own `reference`: too late to stop."""

    KEY: ClassVar[str] = "order_id"

    shipment_id: Id
    order_id: Id
    carrier: Word
    reference: Name


class ShipmentCompleted(Event, frozen=True, kw_only=True):
    """The carrier delivered."""

    KEY: ClassVar[str] = "order_id"

    shipment_id: Id
    order_id: Id
    tracking_number: TrackingNumber


class ShipmentFailed(Event, frozen=True, kw_only=True):
    """No carrier will bring it: refused for good, or every attempt used up."""

    KEY: ClassVar[str] = "order_id"

    shipment_id: Id
    order_id: Id
    reason: Reason
    items: LineItems


class ShipmentCancelled(Event, frozen=True, kw_only=True):
    """The order will not be shipped; `shipment_id` is absent where none was begun."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    shipment_id: Id | None = None
    reason: Reason


class ShipmentCancellationRefused(Event, frozen=True, kw_only=True):
    """Too late to stop: the shipment is with the carrier, or over."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    reason: Reason
