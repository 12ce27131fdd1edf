"""Up to which moment a service has handled what the others published: only deadlines before it may be executed.

An order that makes no progress because the broker or this service was down must not expire.
"""

import asyncio
from datetime import datetime
from typing import NamedTuple

from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.consumer import Consumer
from shared.chassis.jetstream.durable import Durable
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.relay import Relay
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.messages import clock


class _Target(NamedTuple):
    """Every event published before `moment` has at most this stream sequence."""

    sequence: int
    moment: datetime
    undisturbed_since: float


class CatchUp:
    """Asks the broker only when a deadline is due, so that handling events costs nothing more."""

    def __init__(
        self,
        broker: JetStreamConnection,
        streams: StreamManager,
        durable: Durable,
        relay: Relay,
        consumer: Consumer,
        *,
        grace_seconds: float,
    ) -> None:
        self._broker = broker
        self._streams = streams
        self._durable = durable
        self._relay = relay
        self._consumer = consumer
        self._grace_seconds = grace_seconds
        self._target: _Target | None = None
        self.waiting_for = ""
        """Why the last answer was None, as a phrase."""

    async def handled_until(self) -> datetime | None:
        """Every event that the others published before this moment is handled; None while that is unknown.

        It is unknown for the grace period after a start or an outage: the others have to catch up first.
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
        """Since when our events reach the broker and the others' events reach us."""
        sending, receiving = self._relay.clear_since, self._consumer.bound_since
        return None if sending is None or receiving is None else max(sending, receiving)

    async def _ask(self, since: float) -> datetime | None:
        asked_at = clock.now()
        unhandled, handled = await self._durable.progress()
        if not unhandled:
            self._target = None
            return asked_at
        # A consumer under load always has unhandled events: wait only for those that are in the stream now.
        target = self._target
        if target is None or target.undisturbed_since != since:
            moment = clock.now()
            self._target = _Target(await self._streams.last_sequence(), moment, since)
        elif handled >= target.sequence:
            self._target = None
            return target.moment
        self.waiting_for = f"{unhandled} events that are not handled yet"
        return None
