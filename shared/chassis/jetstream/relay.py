"""Event log → broker, in order. Events that are not acknowledged are sent again.

An event that the broker refuses permanently is marked as refused, so that it does not block the others.
"""

import asyncio
import contextlib
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from shared.chassis.engine.backoff import Backoff
from shared.chassis.engine.writer import StorageUnavailable, Writer
from shared.chassis.failpoints import failpoint
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.publisher import Publisher
from shared.chassis.storage import event_log
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database
from shared.chassis.storage.event_log import Outgoing

MAX_AT_ONCE = 256

log = structlog.get_logger()


class Relay:
    """Wakes at every commit, reads unsent events, publishes them and marks those that were acknowledged."""

    def __init__(
        self, source: str, database: Database, broker: JetStreamConnection, writer: Writer[Any, Any]
    ) -> None:
        self._source = source
        self._database = database
        self._broker = broker
        self._publisher = Publisher(broker)
        self._writer = writer
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._is_allowed = asyncio.Event()
        self.backlog = False
        """Whether events wait because the broker does not accept them."""
        self.refused = 0
        """How many events the broker refuses permanently."""
        self.clear_since: float | None = None
        """Since when, on the loop's clock, the broker accepts all events; None while unsent events wait."""
        self.lost = 0
        """How many events that the broker has lost are being published again."""
        broker.on_interrupt(self._hold)

    def allow(self) -> None:
        """Publish over this connection: the stream was compared with the log."""
        self._is_allowed.set()

    def resend(self, lost: int = 0) -> None:
        """Send events that are marked as unsent again, `lost` of them because the broker has lost them."""
        self.lost += lost
        self.clear_since = None
        self.wake()

    def wake(self) -> None:
        """Look for unsent events."""
        self._idle.clear()
        self._woken.set()

    async def run(self) -> None:
        """Send until cancelled."""
        backoff = Backoff()
        self._woken.set()
        while True:
            await self._woken.wait()
            await self._is_allowed.wait()
            self._woken.clear()
            self._idle.clear()
            try:
                progressed = await self._send_batch()
            except (*TRANSIENT_DATABASE_ERRORS, StorageUnavailable) as error:
                log.warning("relay.paused", reason=str(error))
                progressed = False
            self.backlog = not progressed
            if progressed:
                backoff.reset()
                if not self._woken.is_set():
                    self._idle.set()
                continue
            self.clear_since = None
            await backoff.pause()
            self._woken.set()

    def _hold(self) -> None:
        """The broker may have lost its newest events: they are easiest to find before others follow them."""
        self._is_allowed.clear()

    async def drain(self, seconds: float) -> None:
        """Wait until all events are sent, `seconds` at most; the rest stays in the log."""
        if not self._broker.is_connected or not self._is_allowed.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def _send_batch(self) -> bool:
        """Send one batch; whether all of it is acknowledged, or refused permanently, and marked."""
        events, self.refused = await self._database.run(self._read_unsent)
        if not events:
            self._note_clear()
            return True
        sent = await self._publisher.publish(events)
        failpoint("after_publish")
        if sent.sequences or sent.refusals:
            await self._writer.run_in_transaction(
                partial(event_log.mark, published=events, sent=sent)
            )
            failpoint("after_marking")
        for position, reason in sent.refusals.items():
            log.error("event.refused", position=position, reason=reason)
        is_all_settled = len(sent.sequences) + len(sent.refusals) == len(events)
        if len(events) == MAX_AT_ONCE or sent.refusals:
            self._woken.set()
        elif is_all_settled:
            self._note_clear()
        return is_all_settled

    def _read_unsent(self, connection: Connection) -> tuple[list[Outgoing], int]:
        unsent = event_log.unsent(connection, self._source, MAX_AT_ONCE)
        return unsent, event_log.count_refused(connection)

    def _note_clear(self) -> None:
        """No event was left unsent when the batch was read."""
        if not self._woken.is_set():
            self.lost = 0
        self.clear_since = self.clear_since or asyncio.get_running_loop().time()
