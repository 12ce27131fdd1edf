"""A simulated carrier, with repeatable outcomes."""

import random
from typing import Annotated

from msgspec import Meta

from shared.chassis.http.request_body import RequestBody
from shared.settings import ShopSettings
from shipping_service.carriers import Booking, CarrierUnavailable, Declined, Delivered

Seconds = Annotated[float, Meta(ge=0, le=86_400)]


class Simulation(RequestBody, frozen=True, kw_only=True):
    """How the simulated carrier behaves; seconds from the booking to the outcome."""

    success_rate: Annotated[float, Meta(ge=0, le=1)]
    min_delay_seconds: Seconds
    max_delay_seconds: Seconds


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
        )
        """May be changed at run time; a restart restores the settings."""

    def delay_seconds(self, order_id: str) -> float:
        """Uniformly distributed between the two delays."""
        return self._draw("delay", order_id).uniform(
            self.simulation.min_delay_seconds, self.simulation.max_delay_seconds
        )

    async def book(self, booking: Booking, attempt: int) -> Delivered | Declined:
        """Succeeds and is unavailable at the configured rates."""
        order_id = booking.order_id
        if self._draw("outage", order_id, attempt).random() < self._outage_rate:
            raise CarrierUnavailable("the simulated carrier does not answer")
        outcome = self._draw("outcome", order_id)
        if outcome.random() < self.simulation.success_rate:
            return Delivered(tracking_number=f"SIM-{outcome.randrange(10**10):010d}")
        return Declined(reason="CARRIER_DECLINED")

    async def withdraw(self, shipment_id: str) -> bool:  # noqa: ARG002 - part of the interface
        """Nothing is ever shipped."""
        return True

    def has_signed(self, body: bytes, signature: str) -> bool:  # noqa: ARG002 - part of the interface
        """It never calls back."""
        return False

    async def close(self) -> None:
        pass

    def _draw(self, *what: object) -> random.Random:
        seed = ":".join(map(str, (self._seed, *what)))
        return random.Random(seed)  # noqa: S311 - repeatable on purpose
