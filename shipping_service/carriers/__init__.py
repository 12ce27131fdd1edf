"""The interface of a carrier."""

from typing import Protocol

from msgspec import Struct

from shared.contracts import Address, LineItem


class Booking(Struct, frozen=True, kw_only=True, rename="camel"):
    """A shipment to be booked; `shipment_id` is the idempotency key."""

    shipment_id: str
    order_id: str
    items: tuple[LineItem, ...]
    shipping_address: Address | None = None


class Accepted(Struct, frozen=True, kw_only=True):
    """Booked under the carrier's own reference; the outcome arrives as a callback."""

    reference: str


class Delivered(Struct, frozen=True, kw_only=True):
    """The shipment was delivered."""

    tracking_number: str


class Declined(Struct, frozen=True, kw_only=True):
    """The carrier will never deliver it, so it is not asked again."""

    reason: str


Answer = Accepted | Delivered | Declined


class CarrierUnavailable(Exception):
    """The carrier is unreachable, or its answer is unclear; repeat the request later, under the same key."""


class Carrier(Protocol):
    """Takes bookings under the shipment's id: booking twice ships once, and a withdrawn booking is never shipped."""

    name: str
    """As in `/carriers/{name}`."""

    def delay_seconds(self, order_id: str) -> float:
        """The time between a shipment's start and its booking."""
        ...

    async def book(self, booking: Booking, attempt: int) -> Answer:
        """`attempt` counts from 0. Raises CarrierUnavailable."""
        ...

    async def withdraw(self, shipment_id: str) -> bool:
        """Withdraw a booking; False if the carrier has not received it yet. Raises CarrierUnavailable."""
        ...

    def has_signed(self, body: bytes, signature: str) -> bool:
        """Whether a callback with this signature is the carrier's own."""
        ...

    async def close(self) -> None: ...
