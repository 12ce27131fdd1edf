"""A simulated carrier, with repeatable outcomes."""

import random
from typing import Annotated

from msgspec import Meta

from shared.chassis.http.request_body import RequestBody
from shared.contracts import Address
from shared.settings import ShopSettings
from shipping_service.carriers import Accepted, Booking, CarrierUnavailable, Declined, Delivered

ALWAYS_ACCEPTED = Address(
    name="Aiko Yamada",
    lines=("1-2-3 Shibuya",),
    postcode="150-0002",
    city="Tokyo",
    country="JP",
)
"""The address of the orders that documents and `quadrille up` print: the first order of a new user is to be delivered.
Its shipments are declined only if all are."""

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]


class Simulation(RequestBody, frozen=True, kw_only=True, omit_defaults=True):
    """How the simulated carrier behaves; seconds from a shipment's start to its outcome, its dispatch is at half of them."""

    success_rate: Share
    min_delay_seconds: Seconds
    max_delay_seconds: Seconds
    silent_rate: Share = 0
    """The share of dispatched shipments whose outcome it never reports."""


class SimulatedCarrier:
    """Draws outcome and delay from a generator seeded with the order id: a run can be repeated."""

    name = "simulated"

    def __init__(self, settings: ShopSettings) -> None:
        self._seed = settings.carrier_seed
        self._outage_rate = settings.carrier_outage_rate
        self.simulation = Simulation(
            success_rate=settings.carrier_success_rate,
            min_delay_seconds=settings.carrier_min_delay_seconds,
            max_delay_seconds=settings.carrier_max_delay_seconds,
            silent_rate=settings.carrier_silent_rate,
        )
        """May be changed at run time; a restart restores the settings."""

    def delay_seconds(self, order_id: str) -> float:
        return self._half(order_id)

    async def book(self, booking: Booking, attempt: int) -> Accepted | Declined:
        """Succeeds and is unavailable at the configured rates."""
        order_id = booking.order_id
        if self._draw("outage", order_id, attempt).random() < self._outage_rate:
            raise CarrierUnavailable("the simulated carrier does not answer")
        if self._accepts(booking):
            number = self._tracking_number(order_id)
            return Accepted(reference=number, tracking_number=number)
        return Declined(reason="CARRIER_DECLINED")

    def _accepts(self, booking: Booking) -> bool:
        rate = self.simulation.success_rate
        if booking.shipping_address == ALWAYS_ACCEPTED:
            return rate > 0
        return self._draw("outcome", booking.order_id).random() < rate

    def outcome_seconds(self, order_id: str) -> float | None:
        is_silent = self._draw("silence", order_id).random() < self.simulation.silent_rate
        return None if is_silent else self._half(order_id)

    async def outcome(self, order_id: str) -> Delivered:
        return Delivered(tracking_number=self._tracking_number(order_id))

    async def withdraw(self, shipment_id: str) -> bool:  # noqa: ARG002 - part of the interface
        """Nothing is ever shipped."""
        return True

    def has_signed(self, body: bytes, signature: str) -> bool:  # noqa: ARG002 - part of the interface
        """It never calls back."""
        return False

    async def close(self) -> None:
        pass

    def _half(self, order_id: str) -> float:
        """Of a delay that is uniformly distributed between the two."""
        delay = self._draw("delay", order_id).uniform(
            self.simulation.min_delay_seconds, self.simulation.max_delay_seconds
        )
        return delay / 2

    def _tracking_number(self, order_id: str) -> str:
        return f"SIM-{self._draw('number', order_id).randrange(10**10):010d}"

    def _draw(self, *what: object) -> random.Random:
        seed = ":".join(map(str, (self._seed, *what)))
        return random.Random(seed)  # noqa: S311 - repeatable on purpose
