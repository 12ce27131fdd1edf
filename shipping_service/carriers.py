"""Who brings the goods: what a carrier must do, and one that only pretends."""

import random
from typing import Protocol

from msgspec import Struct

from shared.config import Settings


class Delivered(Struct, frozen=True, kw_only=True):
    """It arrived."""

    tracking_number: str


class Declined(Struct, frozen=True, kw_only=True):
    """It will never arrive; asking again is useless."""

    reason: str


class CarrierUnavailable(Exception):  # noqa: N818 - says what is the case
    """The carrier can not be reached just now; ask again later, under the same key."""


class Carrier(Protocol):
    """Takes a booking under the order's id as idempotency key: booking twice ships once."""

    def delay_seconds(self, order_id: str) -> float:
        """How long after the shipment was begun the carrier is to be asked."""
        ...

    async def book(self, order_id: str, attempt: int) -> Delivered | Declined:
        """Ask, for the `attempt`-th time from 0. Raises CarrierUnavailable."""
        ...


class SimulatedCarrier:
    """Draws outcome and delay from a generator seeded with the order id: a run can be repeated."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def delay_seconds(self, order_id: str) -> float:
        """Evenly between the two settings."""
        settings = self._settings
        return self._draw("delay", order_id).uniform(
            settings.carrier_min_seconds, settings.carrier_max_seconds
        )

    async def book(self, order_id: str, attempt: int) -> Delivered | Declined:
        """Succeed as often as set; be out of reach as often as set."""
        if self._draw("outage", order_id, attempt).random() < self._settings.carrier_outage_rate:
            message = "the simulated carrier does not answer"
            raise CarrierUnavailable(message)
        outcome = self._draw("outcome", order_id)
        if outcome.random() < self._settings.carrier_success_rate:
            return Delivered(tracking_number=f"SIM-{outcome.randrange(10**10):010d}")
        return Declined(reason="CARRIER_DECLINED")

    def _draw(self, *what: object) -> random.Random:
        seed = ":".join(map(str, (self._settings.carrier_seed, *what)))
        return random.Random(seed)  # noqa: S311 - to be repeatable is the point
