"""Up to which moment a service has handled what the others published: deadlines before it may be carried out.

An order does not lack progress because the broker was away, or because this service was.
"""

import asyncio
from datetime import datetime
from typing import NamedTuple

from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.consumer import Consumer
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.relay import Relay
from shared.chassis.messages import clock


class _Mark(NamedTuple):
    """All that was published before `moment` has at most this sequence in the stream."""

    sequence: int
    moment: datetime
    since: float


class CatchUp:
    """Asks the broker, and only when a deadline is due: nothing of this is in the way of events."""

    def __init__(
        self,
        broker: JetStreamConnection,
        relay: Relay,
        consumer: Consumer,
        durable: str,
        grace_seconds: float,
    ) -> None:
        self._broker = broker
        self._relay = relay
        self._consumer = consumer
        self._durable = durable
        self._grace_seconds = grace_seconds
        self._mark: _Mark | None = None
        self.waiting_for = ""
        """What the last answer lacked, for people."""

    async def handled_until(self) -> datetime | None:
        """All that the others published before then is handled; None while that is not known.

        After a start or an outage it is not known for the grace: the others have yet to handle what they missed.
        """
        since = self._undisturbed_since()
        if since is None:
            self.waiting_for = "the broker"
            return None
        if asyncio.get_running_loop().time() - since < self._grace_seconds:
            self.waiting_for = f"{self._grace_seconds:.0f} s without an interruption of the broker"
            return None
        try:
            return await self._ask(since)
        except BROKER_ERRORS as error:
            self.waiting_for = self._broker.explain(error)
            return None

    def _undisturbed_since(self) -> float | None:
        """Since when our events go out and the others' come in."""
        sending, receiving = self._relay.clear_since, self._consumer.bound_since
        return None if sending is None or receiving is None else max(sending, receiving)

    async def _ask(self, since: float) -> datetime | None:
        asked_at = clock.now()
        unhandled, handled = await self._broker.progress(self._durable)
        if not unhandled:
            self._mark = None
            return asked_at
        # A consumer under load always has something to handle: wait for what there is now, and no longer.
        mark = self._mark
        if mark is None or mark.since != since:
            moment = clock.now()
            self._mark = _Mark(await self._broker.last_sequence(), moment, since)
        elif handled >= mark.sequence:
            self._mark = None
            return mark.moment
        self.waiting_for = f"{unhandled} events that are not handled yet"
        return None
