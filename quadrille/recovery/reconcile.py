"""Brings an older or empty database up to what its service has published, from the stream and the archive."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, func, make_url, select

from order_service.accounts import sessions
from quadrille.recovery.broker import settings_with_broker
from quadrille.recovery.database_files import READ, copy_online, file_of
from quadrille.recovery.event_pool import EventPool, PooledEvent
from quadrille.recovery.event_sources import connected, read_archive, read_stream
from quadrille.recovery.gathering import Batches, Owner, continuation, gather
from quadrille.recovery.service_rules import RULES, Logic, logic_of
from shared.chassis.engine.past_events import PastEvent, append_past
from shared.chassis.engine.rebuild import open_complete_tables
from shared.chassis.engine.unit_of_work import process_batch
from shared.chassis.errors import FatalError
from shared.chassis.messages import clock
from shared.chassis.messages.catalog import DecodeError
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import everything_of
from shared.chassis.runtime.logic import consumed_subjects
from shared.chassis.storage import database_identity, event_log, inbox, subscribed_types
from shared.chassis.storage.database import Database, database_url, open_for_writing
from shared.chassis.storage.task_queue import TASK
from shared.contracts import CATALOG
from shared.settings import ShopSettings

T = TypeVar("T")

SLICE = 500
"""Events in one transaction; an interrupted run is continued after the last complete one."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to reconcile."""

    archive: Path | None = None
    """A read API's database."""
    ignored: Sequence[str] = ()
    """Ids of events that others have published in the service's name."""
    is_dry_run: bool = False
    """Do everything with a copy, which is deleted afterwards."""


class Reconciliation(msgspec.Struct, kw_only=True, rename="camel"):
    """What was done."""

    service: str
    first: int
    """Position of the first event that was fetched back."""
    last: int
    """The log's last position; the one before `first` if nothing was missing."""
    from_archive: int = 0
    """How many of them the stream no longer has."""
    causes: int = 0
    """Events of other services that had led to them, and were applied with them."""
    missing_causes: int = 0
    """Such events that are neither in the stream nor in the archive."""
    handled: int = 0
    """Further events of other services that the stream no longer has, handled from the archive."""
    tasks: int = 0
    """In the database afterwards."""

    @property
    def events(self) -> int:
        return self.last - self.first + 1


async def reconcile(service: str, settings: ShopSettings, options: Options) -> Reconciliation:
    """The service must not run, and the broker must. Raises FatalError, SettingsError, CannotStart."""
    logic = logic_of(service, settings)
    file = file_of(service, settings)
    _make_directory(file.parent)
    async with AsyncExitStack() as stack:
        stack.enter_context(database_identity.lock(make_url(database_url(service, settings))))
        directory = Path(stack.enter_context(_workspace(file.parent)))
        database = open_for_writing(f"sqlite:///{_target(file, directory, options)}")
        stack.push_async_callback(database.close)
        rules = RULES[service]
        await database.run(
            partial(
                open_complete_tables,
                service=service,
                metadata=rules.tables,
                derived=rules.derived(),
            )
        )
        pool = stack.enter_context(EventPool(directory / "events.db", CATALOG))
        owner = await _owner(database, service, logic, options)
        await gather(database, pool, owner, _batches(owner, logic, settings, options))
        missing = sum(
            1 for _ in continuation(pool, owner)
        )  # nothing is written unless all of it fits
        await database.run(partial(_begin, service=service, is_older=missing > 0))
        result = await _append(database, pool, owner, logic)
        since = _inbox_start(owner, settings)
        result.handled = await _handle_archived(database, pool, owner, logic, since)
        result.tasks = await database.run(_finish)
        return result


def _make_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _workspace(parent: Path) -> tempfile.TemporaryDirectory[str]:
    """On the same disk: it may take as much space as the stream."""
    return tempfile.TemporaryDirectory(prefix=".reconcile-", dir=parent)


def _target(file: Path, directory: Path, options: Options) -> Path:
    """The database to be changed."""
    if not options.is_dry_run:
        return file
    copy = directory / file.name
    if file.exists():
        copy_online(file, copy)
    return copy


async def _owner(database: Database, service: str, logic: Logic, options: Options) -> Owner:
    return Owner(
        service=service,
        end=await database.run(event_log.last_position),
        consumed=frozenset(
            subscription.event_type.__name__ for subscription in logic.subscriptions
        ),
        ignored=frozenset(options.ignored),
    )


async def _batches(owner: Owner, logic: Logic, settings: ShopSettings, options: Options) -> Batches:
    """The stream first: what is in both keeps its place there."""
    own = everything_of(owner.service)
    consumed = consumed_subjects(logic, CATALOG)
    # The order service consumes its own key events; filters may not overlap.
    subjects = [own, *(subject for subject in consumed if not subject.startswith(own[:-1]))]
    async with (
        settings_with_broker(owner.service, settings) as complete,
        connected(owner.service, complete) as broker,
    ):
        async for batch in read_stream(broker, owner.service, subjects, CATALOG):
            yield batch
    read_database = settings.data_dir / f"{READ}.db"
    archive = options.archive or (read_database if read_database.exists() else None)
    if archive:
        for batch in read_archive(archive):
            yield batch


async def _append(
    database: Database, pool: EventPool, owner: Owner, logic: Logic
) -> Reconciliation:
    result = Reconciliation(service=owner.service, first=owner.end + 1, last=owner.end)
    for events in _slices(continuation(pool, owner)):
        past = [_past(event, pool, owner) for event in events]
        work = partial(_append_slice, past=past, logic=logic)
        result.missing_causes += await database.run(work)
        result.causes += len({event.cause.event_id for event in past if event.cause})
        result.from_archive += sum(not event.stream_seq for event in past)
        result.last = past[-1].stored.position
    return result


def _past(event: PooledEvent, pool: EventPool, owner: Owner) -> PastEvent:
    cause_id = event.stored.causation_id
    try:
        cause = pool.find(cause_id) if cause_id else None
    except DecodeError as error:
        raise FatalError(f"event {cause_id} cannot be read by this release: {error}") from error
    is_consumed = cause is not None and cause.source != owner.service
    return PastEvent(event.stored, event.stream_seq, cause if is_consumed else None)


def _append_slice(connection: Connection, past: Sequence[PastEvent], logic: Logic) -> int:
    """Returns how many of the events that led to these are not available."""
    append_past(connection, past, logic=logic, catalog=CATALOG)
    absent = {
        event.stored.causation_id
        for event in past
        if event.cause is None and event.stored.causation_id
    }
    absent -= event_log.recorded_among(connection, absent)
    return len(absent - inbox.processed(connection, list(absent)))


async def _handle_archived(
    database: Database, pool: EventPool, owner: Owner, logic: Logic, since: datetime
) -> int:
    """Handle what the stream will not deliver: the number of events of others."""
    count = 0
    archived: Iterator[RecordedEvent] = pool.only_in_archive(without=owner.service)
    for events in _slices(event for event in archived if event.recorded_at >= since):
        work = partial(
            process_batch, messages=events, envelopes=(), source=owner.service, logic=logic
        )
        outcome = await database.run(work)
        count += len(outcome.consumed)
    return count


def _inbox_start(owner: Owner, settings: ShopSettings) -> datetime:
    """Earlier events may have been handled although they are not in the inbox."""
    days = settings.inbox_retention_days
    return clock.now() - timedelta(days=days) if days and owner.end else LONG_AGO


def _begin(connection: Connection, service: str, *, is_older: bool) -> None:
    """Until the end, the service does not start. Sessions may have ended since the copy was made."""
    database_identity.renew(connection, is_restored=True)
    if is_older and service == "order":
        sessions.end_all(connection)


def _finish(connection: Connection) -> int:
    """Let the service start, and receive what it has missed; returns the number of its tasks."""
    subscribed_types.forget(connection)
    database_identity.renew(connection)
    return connection.execute(select(func.count()).select_from(TASK)).scalar_one()


def _slices(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, SLICE)):
        yield part
