"""What the shipping service says."""

from typing import ClassVar

from shared.contracts.event import Event, Id, Line


class ShipmentInitiated(Event, frozen=True, kw_only=True):
    """Stock and address are known: a carrier is being asked."""

    KEY: ClassVar[str] = "order_id"

    shipment_id: Id
    order_id: Id
    shipping_address: dict[str, str] | None = None
    items: tuple[Line, ...]


class ShipmentDispatched(Event, frozen=True, kw_only=True):
    """A carrier has confirmed the booking, under its own `reference`: too late to stop."""

    KEY: ClassVar[str] = "order_id"

    shipment_id: Id
    order_id: Id
    carrier: str
    reference: str


class ShipmentCompleted(Event, frozen=True, kw_only=True):
    """The carrier delivered."""

    KEY: ClassVar[str] = "order_id"

    shipment_id: Id
    order_id: Id
    tracking_number: str


class ShipmentFailed(Event, frozen=True, kw_only=True):
    """No carrier will bring it: refused for good, or every attempt used up."""

    KEY: ClassVar[str] = "order_id"

    shipment_id: Id
    order_id: Id
    reason: str
    items: tuple[Line, ...]


class ShipmentCancelled(Event, frozen=True, kw_only=True):
    """The order will not be shipped; `shipment_id` is absent where none was begun."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    shipment_id: Id | None = None
    reason: str


class ShipmentCancellationRefused(Event, frozen=True, kw_only=True):
    """Too late to stop: the shipment is with the carrier, or over."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    reason: str
