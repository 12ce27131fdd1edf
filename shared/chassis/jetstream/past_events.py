"""Past events that a service's durable does not bring.

It brings events of a new type only from the moment on that its filter contains the type, and nothing that expired while
the service was away for longer than the stream keeps events.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from shared.chassis.engine.backoff import backoff_seconds
from shared.chassis.engine.writer import StorageUnavailable, Writer
from shared.chassis.jetstream.durable import Durable
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.replay_client import Page, ReplayClient
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.messages import clock
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.event import Event
from shared.chassis.messages.subjects import subject_of_every
from shared.chassis.storage import inbox, subscribed_types
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database
from shared.chassis.storage.subscribed_types import SubscribedType

FIRST_PAUSE_SECONDS = 1
LONGEST_PAUSE_SECONDS = 30

ABSENCE_MARGIN = timedelta(hours=1)
"""Events may have been published this long before others that were processed."""

log = structlog.get_logger()


class PastEvents:
    """Has the publishers replay them, up to the end of their logs when the durable was bound.

    The database notes what is done. An interrupted replay starts again; the inbox recognizes what was handled.
    """

    def __init__(
        self,
        event_types: Sequence[type[Event]],
        catalog: Catalog,
        client: ReplayClient,
        reads: Database,
        writer: Writer[Any, Any],
    ) -> None:
        self._subjects = _subjects(event_types, catalog)
        self._client = client
        self._reads = reads
        self._writer = writer
        self._bound = asyncio.Event()
        self._missing: dict[SubscribedType, datetime | None] = {}
        """Since when the events of a type are missing; None for all of them."""

    @property
    def missing(self) -> list[str]:
        """The event types whose past is not handled yet, sorted."""
        return sorted({one.event_type for one in self._missing})

    async def before_binding(self, durable: Durable, streams: StreamManager) -> None:
        """Find out, before the durable is widened, which past events are missing. Raises database and BROKER_ERRORS."""
        if self._bound.is_set():
            return
        noted = await self._reads.run(subscribed_types.read)
        if not noted:
            noted = dict.fromkeys(await self._received_from_the_stream(durable, streams))
            await self._note(noted, None)
        if obsolete := noted.keys() - self._subjects.keys():
            await self._writer.run_in_transaction(partial(subscribed_types.remove, types=obsolete))
        if since := await self._absent_since(streams):
            handled = [one for one in noted.keys() - obsolete if noted[one] is None]
            await self._note(handled, since)
            noted |= dict.fromkeys(handled, since)
        self._missing = {
            one: noted.get(one)
            for one in self._subjects
            if one not in noted or noted[one] is not None
        }

    def note_bound(self) -> None:
        """The durable brings what is published from now on."""
        self._bound.set()

    async def run(self) -> None:
        """Return when all past events are handled."""
        await self._bound.wait()
        failures = 0
        while self._missing:
            types = defaultdict(list)
            for one, since in self._missing.items():
                types[one.source, since].append(one)
            replays = [self._replay(*key, types[key]) for key in types]
            if not all(await asyncio.gather(*replays)):
                await asyncio.sleep(
                    backoff_seconds(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, failures)
                )
                failures += 1

    async def _received_from_the_stream(
        self, durable: Durable, streams: StreamManager
    ) -> set[SubscribedType]:
        """For a database that has no notes yet: what its durable brings, or a new one will bring from the first event."""
        filters = await durable.filters()
        if filters is not None:
            return {one for one, subject in self._subjects.items() if subject in filters}
        is_whole = await streams.first_sequence() <= 1
        return set(self._subjects) if is_whole else set()

    async def _absent_since(self, streams: StreamManager) -> datetime | None:
        """Since when events may have expired unreceived; None if the stream has kept all of them."""
        kept_seconds = (await streams.state()).max_age_seconds
        last = await self._reads.run(inbox.last_processed)
        if last is None or not kept_seconds:
            return None
        is_absent = clock.now() - last > timedelta(seconds=kept_seconds)
        return last - ABSENCE_MARGIN if is_absent else None

    async def _replay(
        self, source: str, since: datetime | None, types: Sequence[SubscribedType]
    ) -> bool:
        """Whether one publisher's past events of these types are handled."""
        names = [one.event_type for one in types]
        try:
            end = await self._client.end_of(source)
            after = await self._client.last_before(source, since) if since else 0
            await self._client.replay(source, self._deliver, after=after, until=end, types=names)
            await self._note(types, None)
        except (*BROKER_ERRORS, *TRANSIENT_DATABASE_ERRORS, StorageUnavailable) as error:
            log.warning("past_events.delayed", source=source, types=names, reason=str(error))
            return False
        for one in types:
            del self._missing[one]
        log.info("past_events.handled", source=source, types=names)
        return True

    async def _deliver(self, page: Page) -> int:
        if page.messages:
            await self._writer.handle(page.messages)
        return page.through

    async def _note(self, types: Collection[SubscribedType], replay_since: datetime | None) -> None:
        await self._writer.run_in_transaction(
            partial(subscribed_types.note, types=types, replay_since=replay_since)
        )


def _subjects(event_types: Sequence[type[Event]], catalog: Catalog) -> dict[SubscribedType, str]:
    """The durable's filter for each event type, by publisher."""
    subjects = {}
    for event_type in event_types:
        publisher = catalog.publisher_of(event_type)
        subject = subject_of_every(publisher or "*", event_type)
        for source in [publisher] if publisher else catalog.sources:
            subjects[SubscribedType(source, event_type.__name__)] = subject
    return subjects
