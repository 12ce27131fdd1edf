"""Who brings the goods: what every carrier must do."""

from typing import Protocol

from msgspec import Struct

from shared.contracts import LineItem


class Booking(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a carrier is asked to bring; `shipment_id` is the idempotency key."""

    shipment_id: str
    order_id: str
    items: tuple[LineItem, ...]
    shipping_address: dict[str, str] | None = None


class Accepted(Struct, frozen=True, kw_only=True):
    """It is with the carrier, under the carrier's own reference; the outcome will be called back."""

    reference: str


class Delivered(Struct, frozen=True, kw_only=True):
    """It arrived."""

    tracking_number: str


class Declined(Struct, frozen=True, kw_only=True):
    """It will never arrive; asking again is useless."""

    reason: str


Answer = Accepted | Delivered | Declined


class CarrierUnavailable(Exception):
    """The carrier can not be reached just now, or did not answer clearly; ask again later, under the same key."""


class Carrier(Protocol):
    """Takes bookings under the shipment's id: booking twice ships once, and what was withdrawn stays so."""

    name: str
    """As in `/carriers/{name}`."""

    def delay_seconds(self, order_id: str) -> float:
        """How long after the shipment was begun the carrier is to be asked."""
        ...

    async def book(self, booking: Booking, attempt: int) -> Answer:
        """Ask, for the `attempt`-th time from 0. Raises CarrierUnavailable."""
        ...

    async def withdraw(self, shipment_id: str) -> bool:
        """Take a booking back; False where the carrier has not heard of it, yet. Raises CarrierUnavailable."""
        ...

    def has_signed(self, body: bytes, signature: str) -> bool:
        """Whether a callback with this signature is the carrier's own."""
        ...

    async def close(self) -> None:
        """Nothing more will be asked of it."""
        ...
