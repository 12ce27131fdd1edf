"""Asks the owners of event logs for what the stream does not bring: events that it lost, or has kept long enough."""

import asyncio
from collections.abc import Iterable
from functools import partial

import structlog

from shared.chassis.engine.backoff import backoff_seconds
from shared.chassis.engine.projector import Projector
from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.jetstream.durable import Durable
from shared.chassis.jetstream.errors import BROKER_ERRORS, NotAnswered
from shared.chassis.jetstream.replay_client import Page, ReplayClient
from shared.chassis.jetstream.replay_protocol import MAX_EVENTS
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS

CHECK_SECONDS = 2
"""A source whose events arrive within this time is not asked."""
MAX_CHECK_SECONDS = 30
START_ATTEMPTS = 3
"""For each owner, before the stream is read without its past."""

log = structlog.get_logger()


class Backfill:
    """For each source: if its log is longer than what is applied, and nothing more arrives, replay the rest."""

    def __init__(
        self,
        sources: Iterable[str],
        projector: Projector,
        client: ReplayClient,
        streams: StreamManager,
        durable: Durable,
    ) -> None:
        self._sources = sorted(sources)
        self._projector = projector
        self._client = client
        self._streams = streams
        self._durable = durable
        self._locks = {source: asyncio.Lock() for source in self._sources}
        self._ends: dict[str, int] = {}
        """The end of each log that is being replayed."""

    def waiting_for(self) -> list[str]:
        """What is being replayed and takes more than a moment, as phrases."""
        return [
            f"the replay of {source}'s events, {position} of {end}"
            for source, end in self._ends.items()
            if end - (position := self._position(source)) > MAX_EVENTS
        ]

    async def run(self) -> None:
        """Check until cancelled."""
        async with asyncio.TaskGroup() as watches:
            for source in self._sources:
                watches.create_task(self._watch(source))

    async def before_binding(self) -> None:
        """Replay the logs before a new durable reads a stream whose oldest events have expired.

        Otherwise all of the stream would be held until the older events arrive.
        """
        is_new = await self._durable.filters() is None
        if not is_new or await self._streams.first_sequence() <= 1:
            return
        await asyncio.gather(*(self._replay_at_start(source) for source in self._sources))

    async def _replay_at_start(self, source: str) -> None:
        for _ in range(START_ATTEMPTS):
            if await self._fill(source):
                return

    async def _watch(self, source: str) -> None:
        failures = 0
        while True:
            before = self._position(source)
            await asyncio.sleep(backoff_seconds(CHECK_SECONDS, MAX_CHECK_SECONDS, failures))
            if self._position(source) > before:
                failures = 0
            else:
                failures = 0 if await self._fill(source) else failures + 1

    async def _fill(self, source: str) -> bool:
        """Replay the source's log beyond what is applied; whether all of it is applied then."""
        async with self._locks[source]:  # at a start, a check may come while the log is replayed
            return await self._fill_alone(source)

    async def _fill_alone(self, source: str) -> bool:
        before = self._position(source)
        try:
            end = await self._client.end_of(source)
            if end > before:
                await self._replay(source, end)
        except (*BROKER_ERRORS, *TRANSIENT_DATABASE_ERRORS, StorageUnavailable) as error:
            is_expected = isinstance(error, NotAnswered) and source not in self._projector.missing
            if not is_expected:
                log.warning("backfill.failed", source=source, reason=str(error))
            return False
        if end > self._position(source):
            log.warning("backfill.stuck", source=source, position=self._position(source), end=end)
            return False
        return True

    async def _replay(self, source: str, end: int) -> None:
        before = self._position(source)
        self._ends[source] = end
        try:
            deliver = partial(self._deliver, source)
            await self._client.replay(source, deliver, after=before, until=end)
        finally:
            del self._ends[source]
            if (reached := self._position(source)) > before:
                log.info("events.backfilled", source=source, after=before, to=reached)

    async def _deliver(self, source: str, page: Page) -> int:
        await self._projector.deliver(page.messages)
        return self._position(source)

    def _position(self, source: str) -> int:
        return self._projector.positions.get(source, 0)
