"""The past of a subscription that became wider: a durable brings only what is published after it was widened."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection

from shared.chassis.engine.backoff import backoff_seconds
from shared.chassis.engine.writer import StorageUnavailable, Writer
from shared.chassis.jetstream.durable import Durable
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.replay_client import Page, ReplayClient
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.event import Event
from shared.chassis.messages.subjects import subject_of_every
from shared.chassis.storage import subscribed_types
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database
from shared.chassis.storage.subscribed_types import SubscribedType

FIRST_PAUSE_SECONDS = 1
LONGEST_PAUSE_SECONDS = 30

Change = Callable[[Connection, Collection[SubscribedType]], None]

log = structlog.get_logger()


class PastEvents:
    """Has the publishers of new event types replay them, up to the end of their logs when the durable was widened.

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
        self._missing: set[SubscribedType] = set()

    @property
    def missing(self) -> list[str]:
        """The event types whose past is not handled yet, sorted."""
        return sorted({one.event_type for one in self._missing})

    async def before_binding(self, durable: Durable, streams: StreamManager) -> None:
        """Find out, before the durable is widened, which event types are new. Raises database and BROKER_ERRORS."""
        if self._bound.is_set():
            return
        done = await self._reads.run(subscribed_types.read)
        if not done:
            done = await self._received_from_the_stream(durable, streams)
            await self._write(subscribed_types.add, done)
        if obsolete := done - self._subjects.keys():
            await self._write(subscribed_types.remove, obsolete)
        self._missing = self._subjects.keys() - done

    def note_bound(self) -> None:
        """The durable brings what is published from now on."""
        self._bound.set()

    async def run(self) -> None:
        """Return when the past of all event types is handled."""
        await self._bound.wait()
        failures = 0
        while self._missing:
            types = defaultdict(list)
            for one in sorted(self._missing):
                types[one.source].append(one)
            outcomes = await asyncio.gather(*map(self._replay, types.values()))
            if not all(outcomes):
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

    async def _replay(self, types: Sequence[SubscribedType]) -> bool:
        """Whether one publisher's past events of these types are handled."""
        source = types[0].source
        names = [one.event_type for one in types]
        try:
            end = await self._client.end_of(source)
            await self._client.replay(source, self._deliver, after=0, until=end, types=names)
            await self._write(subscribed_types.add, types)
        except (*BROKER_ERRORS, *TRANSIENT_DATABASE_ERRORS, StorageUnavailable) as error:
            log.warning("past_events.delayed", source=source, types=names, reason=str(error))
            return False
        self._missing.difference_update(types)
        log.info("past_events.handled", source=source, types=names)
        return True

    async def _deliver(self, page: Page) -> int:
        if page.messages:
            await self._writer.handle(page.messages)
        return page.through

    async def _write(self, change: Change, types: Collection[SubscribedType]) -> None:
        if types:
            await self._writer.run_in_transaction(lambda connection: change(connection, types))


def _subjects(event_types: Sequence[type[Event]], catalog: Catalog) -> dict[SubscribedType, str]:
    """The durable's filter for each event type, by publisher."""
    subjects = {}
    for event_type in event_types:
        publisher = catalog.publisher_of(event_type)
        subject = subject_of_every(publisher or "*", event_type)
        for source in [publisher] if publisher else catalog.sources:
            subjects[SubscribedType(source, event_type.__name__)] = subject
    return subjects
