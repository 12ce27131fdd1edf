"""Live events over HTTP: a stream resumes exactly where it was cut off, here or at another copy of this service.

A message's id says how far its stream has seen each source: `order:12,inventory:30`. A stream reads the newest events
from a tail in memory; one that falls behind, or resumes, reads the database until it has caught up. So a slow client
costs no more than a fast one, and none misses an event between the two.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import islice

import msgspec
import structlog
from litestar.response import ServerSentEventMessage

from read_api import event_archive
from read_api.positions import format_positions
from read_api.schemas import EventView, event_view
from read_api.visibility import Visibility
from shared.chassis.http.auth import Access, PublicKeys
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database
from shared.contracts import CATALOG

TAIL = 4096
"""Events kept in memory."""
PAGE = 256
HEARTBEAT_SECONDS = 15.0
RETRY_MILLISECONDS = 1000

log = structlog.get_logger()

Seen = dict[str, int]
"""The last position seen of each source."""


class Feed:
    """The newest events, and a way to wait for more."""

    def __init__(self, most: int = TAIL) -> None:
        self._tail: deque[EventView] = deque(maxlen=most)
        self._news = asyncio.Event()
        self.end = 0
        """How many events have gone through; the number of the next one."""
        self.is_closed = False

    def tell(self, events: Sequence[RecordedEvent]) -> None:
        """These are durable now."""
        self._tail.extend(map(event_view, events))
        self.end += len(events)
        self._wake()

    def close(self) -> None:
        """End all streams."""
        self.is_closed = True
        self._wake()

    def has(self, number: int) -> bool:
        """Whether nothing from `number` on has been forgotten."""
        return number >= self.end - len(self._tail)

    def since(self, number: int) -> list[EventView]:
        """The events from `number` on."""
        return list(islice(self._tail, number - self.end + len(self._tail), None))

    async def wait(self, number: int, seconds: float) -> None:
        """Until there is an event `number`, or time is up, or all ends."""
        if number < self.end or self.is_closed:
            return
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._news.wait()
        except TimeoutError:
            pass

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Streams:
    """Makes streams of what the feed tells and the database keeps."""

    def __init__(self, feed: Feed, reads: Database, keys: PublicKeys) -> None:
        self._feed = feed
        self._reads = reads
        self._keys = keys

    async def follow(
        self, seen: Seen, story: Visibility | None, access: Access | None = None
    ) -> AsyncIterator[ServerSentEventMessage]:
        """Every event beyond `seen`, of one order's story if it is given, then what comes, until the service stops.

        It ends also when the access token is no longer accepted; a guest has none.

        A client that gets no further event still learns where it stands, from the opening message's id.
        """
        yield ServerSentEventMessage(
            data=None, id=format_positions(seen) or None, retry=RETRY_MILLISECONDS
        )
        heartbeat_at = time.monotonic() + HEARTBEAT_SECONDS
        try:
            async for event in self._events(seen, story, access):
                if access and not await self._keys.still_accept(access):
                    break
                if event:
                    seen[event.source] = event.position
                    yield _message(event, seen)
                elif time.monotonic() < heartbeat_at:
                    continue
                else:
                    yield ServerSentEventMessage(data=None, comment="heartbeat")
                heartbeat_at = time.monotonic() + HEARTBEAT_SECONDS
        except TRANSIENT_DATABASE_ERRORS as error:
            log.warning("stream.cut", reason=str(error))

    async def _events(
        self, seen: Seen, story: Visibility | None, access: Access | None
    ) -> AsyncIterator[EventView | None]:
        """The events, one by one; None now and then while there are none, and when the token expires."""
        while not self._feed.is_closed:
            number = self._feed.end  # noted first: what is applied while we read is in the tail
            while (page := await self._page(seen, story)) and not self._feed.is_closed:
                for event in page:
                    yield event
            while self._feed.has(number) and not self._feed.is_closed:
                fresh = self._feed.since(number)
                number += len(fresh)
                for event in fresh:
                    if _is_wanted(event, seen, story):
                        yield event
                yield None
                seconds = HEARTBEAT_SECONDS / 3
                await self._feed.wait(
                    number, min(seconds, access.seconds_left) if access else seconds
                )

    async def _page(self, seen: Seen, story: Visibility | None) -> list[EventView]:
        return await self._reads.run(
            partial(event_archive.beyond, seen=dict(seen), story=story, most=PAGE)
        )


def everything_until_now(positions: Seen) -> Seen:
    """Where a stream starts that asks only for what is new."""
    return {**dict.fromkeys(sorted(CATALOG.sources), 0), **positions}


def _is_wanted(event: EventView, seen: Seen, story: Visibility | None) -> bool:
    if story and not story.tells(event.type, event.key, event.correlation_id):
        return False
    return event.position > seen.get(event.source, 0)


def _message(event: EventView, seen: Seen) -> ServerSentEventMessage:
    return ServerSentEventMessage(
        id=format_positions(seen), event=event.type, data=msgspec.json.encode(event)
    )
