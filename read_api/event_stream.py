"""Live events over HTTP: a stream resumes exactly where it was cut off, here or at another copy of this service.

A message's id is the positions that its stream has sent so far: `order:12,inventory:30`. A stream reads the newest
events from a tail in memory; one that falls behind, or resumes, reads the database until it has caught up. So a slow
client costs no more than a fast one, and none misses an event between the two.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import islice

import msgspec
import structlog
from litestar.response import ServerSentEventMessage

from read_api.positions import Positions, format_positions
from read_api.queries.events import events_after
from read_api.queries.visibility import Visibility
from read_api.schemas import EventView, event_view
from shared.chassis.http.auth import Access, PublicKeys
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS
from shared.chassis.storage.reader import Reader

MAX_TAIL = 4096
"""Events kept in memory."""
PAGE_SIZE = 256
HEARTBEAT_SECONDS = 15.0
RETRY_MILLISECONDS = 1000

log = structlog.get_logger()


class Feed:
    """The newest events, and a way to wait for more."""

    def __init__(self, max_tail: int = MAX_TAIL) -> None:
        self._tail: deque[EventView] = deque(maxlen=max_tail)
        self._changed = asyncio.Event()
        self.end = 0
        """How many events were published; the number of the next one."""
        self.is_closed = False

    def publish(self, events: Sequence[RecordedEvent]) -> None:
        """Send events that are durable."""
        self._tail.extend(map(event_view, events))
        self.end += len(events)
        self._notify()

    def close(self) -> None:
        """End all streams."""
        self.is_closed = True
        self._notify()

    def has(self, number: int) -> bool:
        """Whether all events from `number` on are still in the tail."""
        return number >= self.end - len(self._tail)

    def since(self, number: int) -> list[EventView]:
        """The events from `number` on."""
        return list(islice(self._tail, number - self.end + len(self._tail), None))

    async def wait(self, number: int, seconds: float) -> None:
        """Return when there is an event `number`, after this time, or when the feed is closed."""
        if number < self.end or self.is_closed:
            return
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Streams:
    """Makes streams from the feed and the database."""

    def __init__(self, feed: Feed, reader: Reader, keys: PublicKeys) -> None:
        self._feed = feed
        self._reader = reader
        self._keys = keys

    async def follow(
        self, positions: Positions, visibility: Visibility | None, access: Access | None = None
    ) -> AsyncIterator[ServerSentEventMessage]:
        """Every event after these positions, all or those visible of one order, until the service stops.

        It also ends when the access token is no longer accepted; a guest has none. The opening message's id lets a
        client resume that receives no event.
        """
        sent = dict(positions)
        yield ServerSentEventMessage(
            data=None, id=format_positions(sent) or None, retry=RETRY_MILLISECONDS
        )
        heartbeat_at = time.monotonic() + HEARTBEAT_SECONDS
        try:
            async for event in self._events(sent, visibility, access):
                if access and not await self._keys.still_accept(access):
                    break
                if event:
                    sent[event.source] = event.position
                    yield _message(visibility.redacted(event) if visibility else event, sent)
                elif time.monotonic() < heartbeat_at:
                    continue
                else:
                    yield ServerSentEventMessage(data=None, comment="heartbeat")
                heartbeat_at = time.monotonic() + HEARTBEAT_SECONDS
        except TRANSIENT_DATABASE_ERRORS as error:
            log.warning("stream.cut", reason=str(error))

    async def _events(
        self, sent: Positions, visibility: Visibility | None, access: Access | None
    ) -> AsyncIterator[EventView | None]:
        """The events behind `sent`, which the caller moves on.

        None in between: when there is no further event at present, and when the token expires.
        """
        while not self._feed.is_closed:
            number = self._feed.end  # before the query: what is applied during it is in the tail
            async for event in self._stored_events(sent, visibility):
                yield event
            while self._feed.has(number) and not self._feed.is_closed:
                new = self._feed.since(number)
                number += len(new)
                for event in new:
                    if _is_next(event, sent, visibility):
                        yield event
                yield None
                seconds = HEARTBEAT_SECONDS / 3
                await self._feed.wait(
                    number, min(seconds, access.seconds_left) if access else seconds
                )

    async def _stored_events(
        self, sent: Positions, visibility: Visibility | None
    ) -> AsyncIterator[EventView]:
        while not self._feed.is_closed:
            page = await events_after(self._reader, sent, visibility, PAGE_SIZE)
            if not page:
                return
            for event in page:
                yield event


def _is_next(event: EventView, sent: Positions, visibility: Visibility | None) -> bool:
    if visibility and not visibility.includes(event):
        return False
    return event.position > sent.get(event.source, 0)


def _message(event: EventView, sent: Positions) -> ServerSentEventMessage:
    return ServerSentEventMessage(
        id=format_positions(sent), event=event.type, data=msgspec.json.encode(event)
    )
