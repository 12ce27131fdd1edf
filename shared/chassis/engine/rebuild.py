"""Rebuilds derived tables: those that are nothing but a fold of events which the same database keeps.

They are rebuilt when their definition, or the version of the code that folds, is another than when they were built:
dropped, and filled again in batches, each in a transaction. An interrupted rebuild continues where it stopped.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.exc import IntegrityError

from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.errors import FatalError
from shared.chassis.failpoints import failpoint
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.touches import touches
from shared.chassis.storage import derived_state, event_log
from shared.chassis.storage.database import Database
from shared.chassis.storage.derived_state import Cursor, RebuildProgress
from shared.chassis.storage.migrations import migrate

BATCH_EVENTS = 500
BATCHES_PER_LINE = 20
"""Between two lines of progress in the log."""

log = structlog.get_logger()


class DerivedTables(NamedTuple):
    """Tables, and the fold that they are of."""

    tables: Sequence[Table]
    """Parents before children."""
    version: int
    """Raised when the fold makes other rows of the same events."""
    events_after: Callable[[Connection, Cursor | None, int], Sequence[RecordedEvent]]
    """The next events in the order of the fold, up to this number."""
    apply: Callable[[Connection, Sequence[RecordedEvent]], None]
    reset: Callable[[Connection], None] = lambda _connection: None
    """What else to do when a rebuild starts."""


async def open_tables(
    database: Database,
    service: str,
    metadata: MetaData,
    derived: DerivedTables,
    versions: Path | None = None,
) -> str:
    """Bring all tables of a service's database up to date; returns the database's id. Raises FatalError."""
    migration = partial(
        migrate, service=service, metadata=metadata, derived=derived.tables, versions=versions
    )
    database_id = await database.run(migration)
    await rebuild_if_needed(database, derived)
    return database_id


async def rebuild_if_needed(database: Database, derived: DerivedTables) -> None:
    """Return when the tables are complete and as this release defines them. Raises FatalError for newer ones."""
    progress = await database.run(partial(_prepare, derived=derived))
    if progress.is_complete:
        return
    for batch in count(1):
        progress = await database.run(partial(_apply_batch, derived=derived, progress=progress))
        failpoint("after_rebuild_batch")
        if progress.is_complete:
            break
        if batch % BATCHES_PER_LINE == 0:
            log.info("rebuild.progressed", events=progress.events)
    if progress.events:  # there are none in a new database
        log.info("rebuild.completed", events=progress.events)


def derived_tables_of(
    source: str, logic: ServiceLogic[Any, Any], catalog: Catalog
) -> DerivedTables:
    """The part of a service's state that is a fold of its own event log."""
    return DerivedTables(
        tables=logic.store.derived_tables,
        version=logic.state_version,
        events_after=partial(_log_after, source=source, catalog=catalog),
        apply=partial(_fold, logic=logic),
    )


def _prepare(connection: Connection, derived: DerivedTables) -> RebuildProgress:
    """How far the tables are built; if they were built otherwise, they are empty afterwards."""
    digest = derived_state.digest_of(derived.tables)
    current = derived_state.read(connection)
    if current and (current.version, current.digest) == (derived.version, digest):
        return current
    if current and current.version > derived.version:
        raise FatalError(
            f"{connection.engine.url.database} was made by a newer release (tables of version "
            f"{current.version}, this release uses {derived.version}): run that release"
        )
    names = [str(table.name) for table in derived.tables]
    derived_state.recreate(connection, derived.tables, current.tables if current else ())
    derived.reset(connection)
    progress = RebuildProgress(derived.version, digest, names)
    derived_state.save(connection, progress)
    return progress


def _apply_batch(
    connection: Connection, derived: DerivedTables, progress: RebuildProgress
) -> RebuildProgress:
    events = derived.events_after(connection, progress.cursor, BATCH_EVENTS)
    _apply(connection, derived, events)
    if events:
        progress = progress._replace(
            cursor=Cursor(events[-1].source, events[-1].position),
            events=progress.events + len(events),
        )
    progress = progress._replace(is_complete=len(events) < BATCH_EVENTS)
    derived_state.save(connection, progress)
    return progress


def _apply(connection: Connection, derived: DerivedTables, events: Sequence[RecordedEvent]) -> None:
    try:
        with connection.begin_nested():
            derived.apply(connection, events)
    except IntegrityError:  # a unique value moved from one entity to another within the batch
        for recorded in events:
            derived.apply(connection, [recorded])


def _log_after(
    connection: Connection, cursor: Cursor | None, most: int, *, source: str, catalog: Catalog
) -> Sequence[RecordedEvent]:
    return event_log.read_after(connection, source, catalog, cursor.position if cursor else 0, most)


def _fold(
    connection: Connection, events: Sequence[RecordedEvent], logic: ServiceLogic[Any, Any]
) -> None:
    """As the unit of work does, but for tables that keep something of consumed events: those stay as they are."""
    ids: set[str] = set().union(*touches(*(recorded.event for recorded in events)).values())
    before = logic.store.load_any(connection, ids)
    after = reduce(logic.decider.evolve, events, before)
    logic.store.save(connection, before, after, only_derived=True)
