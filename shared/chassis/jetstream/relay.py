"""Event log → broker, in order. What is not acknowledged is sent again.

An event that the broker will never take is set aside: the others do not wait for it.
"""

import asyncio
import contextlib
from functools import partial

import structlog
from sqlalchemy import Connection

from shared.chassis.engine.backoff import Backoff
from shared.chassis.engine.writer import StorageUnavailable, Writer
from shared.chassis.failpoints import failpoint
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.storage import event_log
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database
from shared.chassis.storage.event_log import Outgoing

MAX_AT_ONCE = 256

log = structlog.get_logger()


class Relay:
    """Wakes at every commit, reads what is unsent, publishes it, marks what was acknowledged."""

    def __init__(
        self, source: str, database: Database, broker: JetStreamConnection, writer: Writer
    ) -> None:
        self._source = source
        self._database = database
        self._broker = broker
        self._writer = writer
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._is_allowed = asyncio.Event()
        self.backlog = False
        """Whether events wait that the broker does not take."""
        self.refused = 0
        """How many events the broker refuses for good."""
        self.clear_since: float | None = None
        """Since when, on the loop's clock, the broker takes all events; None until it has taken all that waited."""

    @property
    def is_allowed(self) -> bool:
        """Whether it may publish."""
        return self._is_allowed.is_set()

    def allow(self) -> None:
        """Begin to publish: the log is known to be the one that was published from before."""
        self._is_allowed.set()

    def wake(self) -> None:
        """There is something to send."""
        self._idle.clear()
        self._news.set()

    async def run(self) -> None:
        """Send for ever."""
        await self._is_allowed.wait()
        backoff = Backoff()
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            self._idle.clear()
            try:
                progressed = await self._send_some()
            except (*TRANSIENT_DATABASE_ERRORS, StorageUnavailable) as error:
                log.warning("relay.paused", reason=str(error))
                progressed = False
            self.backlog = not progressed
            if progressed:
                backoff.reset()
                if not self._news.is_set():
                    self._idle.set()
                continue
            self.clear_since = None
            await backoff.pause()
            self._news.set()

    async def drain(self, seconds: float) -> None:
        """Wait until all is sent, so long at most; what is left stays in the log."""
        if not self._broker.is_connected or not self._is_allowed.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def _send_some(self) -> bool:
        """Send one batch; whether all of it is acknowledged and marked."""
        events, self.refused = await self._database.run(self._look)
        if not events:
            self._note_clear()
            return True
        sent = await self._broker.publish(events)
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
            self._news.set()
        elif is_all_settled:
            self._note_clear()
        return is_all_settled

    def _look(self, connection: Connection) -> tuple[list[Outgoing], int]:
        unsent = event_log.unsent(connection, self._source, MAX_AT_ONCE)
        return unsent, event_log.count_refused(connection)

    def _note_clear(self) -> None:
        """What waited when the batch was read is sent."""
        self.clear_since = self.clear_since or asyncio.get_running_loop().time()
