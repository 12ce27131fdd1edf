"""Keeps the stream equal to the event log, within the stream's retention: what the broker has lost is published again.

An acknowledgement is no proof that the broker still has an event: its disk can be wiped or replaced by an older copy, a
power failure can remove the newest events, and one damaged bit hides a part of a block without an error.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from shared.chassis.engine.backoff import Backoff
from shared.chassis.engine.writer import StorageUnavailable, Writer
from shared.chassis.errors import FatalError
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.relay import Relay
from shared.chassis.jetstream.stream_manager import Published, StreamManager, StreamState
from shared.chassis.jetstream.stream_reader import stored_ids
from shared.chassis.messages import clock
from shared.chassis.messages.catalog import Catalog
from shared.chassis.storage import event_log, stream_audit
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database
from shared.chassis.storage.event_log import Acknowledged
from shared.chassis.storage.stream_audit import StreamAudit

CHECK_SECONDS = 60
AUDIT_INTERVAL = timedelta(days=1)
"""Between two audits of a stream that gives no reason for one: only reading it finds a bit that has changed on the disk."""
EXPIRY_MARGIN = timedelta(seconds=60)
"""Events that the broker will remove this soon are not compared."""
RESEND_AT_ONCE = 1000
"""Events in one transaction: bounds how long commands wait for it."""

log = structlog.get_logger()


class Resync:
    """Compares the newest event at every connection; and every event when the broker's process or the stream is another."""

    def __init__(
        self,
        reads: Database,
        broker: JetStreamConnection,
        streams: StreamManager,
        relay: Relay,
        writer: Writer[Any, Any],
        *,
        source: str,
        catalog: Catalog,
    ) -> None:
        self._source = source
        self._reads = reads
        self._broker = broker
        self._streams = streams
        self._relay = relay
        self._writer = writer
        self._catalog = catalog
        self.is_own_log = False
        """Whether this is the log that was published from, and not an older copy."""
        self._connected = asyncio.Event()
        self.problem: str | None = None
        """Why the stream cannot be compared with the log, as a phrase."""

    async def allow_relay(self) -> None:
        """For every new connection, before anything is published over it. Raises FatalError."""
        await self._compare_newest()
        self._relay.allow()
        self._connected.set()

    async def run(self) -> None:
        """Compare at every new connection and from time to time, until cancelled."""
        backoff = Backoff()
        await self._connected.wait()
        while True:
            self._connected.clear()
            try:
                await self._compare()
            except (*BROKER_ERRORS, *TRANSIENT_DATABASE_ERRORS, StorageUnavailable) as error:
                self._note_problem(error)
                await backoff.pause()
                continue
            self.problem = None
            backoff.reset()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._connected.wait()

    async def publish_again(self, positions: Sequence[int], *, lost: int = 0) -> None:
        """Publish the events of these positions, under message ids that the broker does not know.

        The newest event follows them, so that it is again the stream's last of this service.
        """
        for start in range(0, len(positions), RESEND_AT_ONCE):
            part = positions[start : start + RESEND_AT_ONCE]
            await self._writer.run_in_transaction(partial(event_log.resend, positions=part))
        newest = await self._reads.run(event_log.last_position)
        if newest not in positions[-1:]:
            await self._writer.run_in_transaction(partial(event_log.resend, positions=[newest]))
        self._relay.resend(lost)

    async def _compare(self) -> None:
        state, server_id = await self._streams.state(), self._broker.server_id
        last = await self._reads.run(stream_audit.read)
        if last is None or _needs_audit(last, state, server_id):
            await self._audit(state, server_id)
        else:
            await self._compare_newest()

    async def _compare_newest(self) -> None:
        """Publish the newest events again if the stream ends before them.

        Raises FatalError if this is not the log that was published from: a copy restored from a backup would use
        positions a second time, for other events.
        """
        acknowledged = await self._reads.run(event_log.last_acknowledged)
        published = await self._streams.last_published(self._source, self._catalog)
        if published is not None:
            if not self.is_own_log:  # later events in the stream are ours, or forged
                await self._require(published)
            if published.position < acknowledged:
                await self._recover_after(published, acknowledged)
        self.is_own_log = True

    async def _recover_after(self, published: Published, acknowledged: int) -> None:
        """Events that were stored later than the stream's last are lost, others were stored before it was sent again."""
        work = partial(
            event_log.acknowledged_between,
            after=published.position,
            last=acknowledged,
            stored_after=published.sequence,
        )
        if lost := await self._reads.run(work):
            await self._recover(lost)

    async def _require(self, published: Published) -> None:
        position = published.position
        recorded = await self._reads.run(partial(event_log.event_id_at, position=position))
        if recorded != published.event_id:
            raise FatalError(
                f"{self._reads.url.database} is not the log that event {position} of "
                f"{self._source} was published from: it is a restored copy, or new; fetch the later "
                f"events back with: quadrille reconcile {self._source}"
            )

    async def _audit(self, state: StreamState, server_id: str) -> None:
        """Compare every event that the stream should contain, and publish those again that it does not."""
        since = None
        if state.max_age_seconds:
            since = clock.now() - timedelta(seconds=state.max_age_seconds) + EXPIRY_MARGIN
        expected = await self._reads.run(partial(event_log.acknowledged_since, moment=since))
        if any(expected.flags):
            await self._strike_stored(expected)
        if lost := _remaining(expected):
            await self._recover(lost)
        audit = StreamAudit(state.epoch, server_id, state.holes, clock.now())
        await self._writer.run_in_transaction(partial(stream_audit.save, audit=audit))
        log.info("stream.audited", lost=len(lost))

    async def _strike_stored(self, expected: Acknowledged) -> None:
        async with aclosing(stored_ids(self._broker, self._source)) as batches:
            async for event_ids in batches:
                work = partial(event_log.positions_of, event_ids=event_ids)
                for position in await self._reads.run(work):
                    if position >= expected.first and position - expected.first < len(
                        expected.flags
                    ):
                        expected.flags[position - expected.first] = 0

    async def _recover(self, positions: Sequence[int]) -> None:
        log.warning("events.lost", events=len(positions), first=positions[0], last=positions[-1])
        await self.publish_again(positions, lost=len(positions))

    def _note_problem(self, error: Exception) -> None:
        is_broker = isinstance(error, BROKER_ERRORS)
        reason = self._broker.explain(error) if is_broker else str(error)
        if reason != self.problem:
            log.warning("stream.not_compared", reason=reason)
        self.problem = reason


def _needs_audit(last: StreamAudit, state: StreamState, server_id: str) -> bool:
    return (
        (last.epoch, last.server_id) != (state.epoch, server_id)
        or state.holes > last.holes
        or clock.now() - last.audited_at > AUDIT_INTERVAL
    )


def _remaining(expected: Acknowledged) -> list[int]:
    return [expected.first + index for index, flag in enumerate(expected.flags) if flag]
