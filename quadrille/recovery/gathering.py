"""Gathers what a database lacks, and checks that the service's own events continue its log."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection

from quadrille.recovery.event_pool import EventPool, PooledEvent
from shared.chassis.errors import FatalError
from shared.chassis.storage import event_log, inbox
from shared.chassis.storage.database import Database

Batches = AsyncGenerator[list[PooledEvent]]


class Owner(NamedTuple):
    """The log that is to be continued."""

    service: str
    end: int
    """Its last position."""
    consumed: frozenset[str]
    """The event types that the service consumes."""
    ignored: frozenset[str]
    """Ids of events that others have published in the service's name."""

    def owns(self, event: PooledEvent) -> bool:
        return event.stored.source == self.service


class Comparison:
    """Whether the log is the beginning of the one that was published from."""

    def __init__(self) -> None:
        self._confirmed = 0
        self._contradictions: dict[int, str] = {}

    def note(self, event: PooledEvent, *, is_recorded: bool) -> None:
        """For a published event at a position of the log."""
        if is_recorded:
            self._confirmed = max(self._confirmed, event.stored.position)
        else:
            self._contradictions[event.stored.position] = event.stored.event_id

    def raise_if_different(self, service: str) -> None:
        """Raises FatalError. Earlier contradictions are events that others have published in the service's name."""
        for position, event_id in self._contradictions.items():
            if position > self._confirmed:
                raise FatalError(
                    f"event {position} of {service} was published as {event_id}, and the database "
                    "has another one there: it is no older copy of the log that was published "
                    "from; restore another copy"
                )


async def gather(database: Database, pool: EventPool, owner: Owner, batches: Batches) -> None:
    """Put into the pool what the database lacks. Raises FatalError for a log that was not published from."""
    comparison = Comparison()
    async with aclosing(batches):
        async for batch in batches:
            events = [
                event
                for event in batch
                if (owner.owns(event) or event.stored.event_type in owner.consumed)
                and event.stored.event_id not in owner.ignored
            ]
            recorded = await database.run(partial(_recorded, events=events, owner=owner))
            for event in events:
                if owner.owns(event) and event.stored.position <= owner.end:
                    is_recorded = event.stored.event_id in recorded
                    comparison.note(event, is_recorded=is_recorded)
            pool.add(_lacking(events, recorded, owner))
    comparison.raise_if_different(owner.service)


def continuation(pool: EventPool, owner: Owner) -> Iterator[PooledEvent]:
    """The events after the log's end, each at the next position. Raises FatalError."""
    expected = owner.end + 1
    events = pool.events_of(owner.service, after=owner.end)
    for position, group in groupby(events, key=lambda event: event.stored.position):
        if position != expected:
            raise FatalError(
                f"events {expected} to {position - 1} of {owner.service} are neither in the stream "
                "nor in an archive: name the read API's database with --archive, or restore a "
                "newer copy"
            )
        yield _genuine(list(group))
        expected = position + 1


def _recorded(connection: Connection, events: Sequence[PooledEvent], owner: Owner) -> set[str]:
    """The ids of the own events in the log, and of the others that were processed."""
    own = [event.stored.event_id for event in events if owner.owns(event)]
    others = [event.stored.event_id for event in events if not owner.owns(event)]
    return event_log.recorded_among(connection, own) | inbox.processed(connection, others)


def _lacking(
    events: Iterable[PooledEvent], recorded: set[str], owner: Owner
) -> Iterator[PooledEvent]:
    for event in events:
        is_beyond = not owner.owns(event) or event.stored.position > owner.end
        if is_beyond and event.stored.event_id not in recorded:
            yield event


def _genuine(events: Sequence[PooledEvent]) -> PooledEvent:
    """The event of one position: of several, the one that the read API has applied. Raises FatalError."""
    if len(events) == 1:
        return events[0]
    archived = [event for event in events if event.is_in_archive]
    if len(archived) == 1:
        return archived[0]
    ids = " and ".join(event.stored.event_id for event in events)
    stored = events[0].stored
    raise FatalError(
        f"{ids} were published as event {stored.position} of {stored.source}: name the false one "
        "with --ignore"
    )
