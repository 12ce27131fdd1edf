"""The interface of a carrier, and the carriers of the shop by name."""

from collections.abc import Mapping
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
    """Booked under the carrier's own reference; the outcome follows."""

    reference: str
    tracking_number: str | None = None


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

    def outcome_seconds(self, order_id: str) -> float | None:
        """The time between the dispatch and the moment to ask for the outcome; None if the carrier reports it unasked."""
        ...

    async def outcome(self, order_id: str) -> Delivered | Declined:
        """What became of a dispatched shipment; asked after `outcome_seconds`. Raises CarrierUnavailable."""
        ...

    async def withdraw(self, shipment_id: str) -> bool:
        """Withdraw a booking; False if the carrier has not received it yet. Raises CarrierUnavailable."""
        ...

    def has_signed(self, body: bytes, signature: str) -> bool:
        """Whether a callback with this signature is the carrier's own."""
        ...

    async def close(self) -> None: ...


class Carriers:
    """The carriers that are set up. A shipment keeps its carrier when the setting chooses another one for new shipments."""

    def __init__(self, by_name: Mapping[str, Carrier], chosen: str) -> None:
        self.by_name = by_name
        self.chosen = chosen
        """Books new shipments."""

    def of(self, name: str | None) -> Carrier:
        """The carrier of a shipment; None is one that an earlier release initiated. Raises CarrierUnavailable."""
        carrier = self.by_name.get(name or self.chosen)
        if carrier is None:
            raise CarrierUnavailable(f"the carrier {name} is not set up")
        return carrier

    async def close(self) -> None:
        for carrier in self.by_name.values():
            await carrier.close()
