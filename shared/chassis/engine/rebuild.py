"""Rebuilds derived tables: those that are nothing but a fold of events which the same database keeps.

They are built in a file beside the database, which is in use meanwhile, and compared with the tables in use. Then one
transaction takes them over and folds the events that were recorded since. Before it commits nothing has changed, and
the file is of no use to a later process: an interrupted rebuild starts again.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial, reduce
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.exc import IntegrityError

from shared.chassis.errors import FatalError
from shared.chassis.failpoints import failpoint
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.touches import touches
from shared.chassis.storage import derived_state, event_log
from shared.chassis.storage.derived_state import DerivedState
from shared.chassis.storage.entity_store import EntityStore
from shared.chassis.storage.migrations import migrate
from shared.chassis.storage.rebuild_file import (
    TableComparison,
    compare,
    copy_built,
    open_rebuild_file,
)

BATCH_EVENTS = 1000

Positions = Mapping[str, int]
"""The last position of each source; 0 for one that is not named."""

State = TypeVar("State", bound=msgspec.Struct)


class DerivedTables(NamedTuple):
    """Tables, and the fold that they are of."""

    tables: Sequence[Table]
    """Parents before children."""
    version: int
    """Raised when the fold makes other rows of the same events."""
    ends: Callable[[Connection], Positions]
    """The newest events that there are to fold."""
    events_after: Callable[[Connection, Positions, int], Sequence[RecordedEvent]]
    """The next events in the order of the fold, up to this number."""
    apply: Callable[[Connection, Sequence[RecordedEvent]], None]
    also_written: Sequence[Table] = ()
    """Other tables that the fold writes to."""
    before_batch: Callable[[Connection], None] = lambda _connection: None
    """Where tables are built: copies what the fold needs of those from the schema `in_use`."""
    take_over: Callable[[Connection], None] = lambda _connection: None
    """Where tables are taken over: puts their rows, which are in the schema `built`, where they belong."""

    @property
    def state(self) -> DerivedState:
        return DerivedState.of(self.version, self.tables)


class Stage(StrEnum):
    """What the process that builds does."""

    BUILDING = "BUILDING"
    COMPARING = "COMPARING"


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How many events are folded, of how many."""

    stage: Stage
    events: int
    total: int
    seconds: float
    """Since the first event."""


class Built(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Tables in a file, ready to be taken over."""

    positions: Positions
    events: int
    seconds: float
    """Of the fold, without the comparison."""
    tables: Sequence[TableComparison] | None
    """None if the tables in use were of another definition or fold."""


def derived_tables_of(
    source: str,
    store: EntityStore[State],
    evolve: Callable[[State, RecordedEvent], State],
    catalog: Catalog,
    version: int = 1,
) -> DerivedTables:
    """The part of a service's state that is a fold of its own event log."""
    return DerivedTables(
        tables=store.derived_tables,
        version=version,
        ends=partial(_end_of_log, source=source),
        events_after=partial(_log_after, source=source, catalog=catalog),
        apply=partial(_fold, store=store, evolve=evolve),
    )


def open_tables(
    connection: Connection,
    *,
    service: str,
    metadata: MetaData,
    derived: DerivedTables,
    versions: Path | None = None,
) -> tuple[str, bool]:
    """Migrate a service's database; its id, and whether the derived tables are as this release defines them.

    If not, they must be rebuilt before they are used. Raises FatalError.
    """
    database_id = migrate(connection, service, metadata, derived.tables, versions)
    current, state = derived_state.read(connection), derived.state
    if current and current.is_complete and current[:2] == state[:2]:
        return database_id, True
    if current and current.version > derived.version:
        raise FatalError(
            f"{connection.engine.url.database} was made by a newer release (tables of version "
            f"{current.version}, this release uses {derived.version}): run that release"
        )
    is_empty = not any(derived.ends(connection).values())
    if is_empty:
        _recreate(connection, derived)
        derived_state.save(connection, state._replace(is_complete=True))
    else:  # neither this release nor an earlier one may take them for complete
        before = current or DerivedState(0, "", [])
        derived_state.save(connection, before._replace(digest="", is_complete=False))
    return database_id, is_empty


def open_complete_tables(
    connection: Connection, *, service: str, metadata: MetaData, derived: DerivedTables
) -> None:
    """Migrate the database of a service that does not run, and rebuild its derived tables if they need it.

    One transaction is enough where nobody waits. Raises FatalError.
    """
    _, is_complete = open_tables(connection, service=service, metadata=metadata, derived=derived)
    if not is_complete:
        _recreate(connection, derived)
        _complete(connection, derived, _Fold(connection, derived))


def build(
    derived: DerivedTables,
    file: Path,
    database: Path,
    *,
    is_comparable: bool,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> Built:
    """Fold all events into tables in the file, while the database is in use."""
    with open_rebuild_file(file, database) as connection:
        with connection.begin():
            for table in (*derived.tables, *derived.also_written):
                table.create(connection)
            total = sum(derived.ends(connection).values())
        fold, started = _Fold(connection, derived, derived.before_batch), time.monotonic()
        for events in fold.in_transactions():
            seconds = time.monotonic() - started
            failpoint("after_rebuild_batch")
            on_progress(Progress(Stage.BUILDING, events, max(events, total), seconds))
        on_progress(Progress(Stage.COMPARING, fold.events, fold.events, seconds))
        with connection.begin():
            fold.to_end()
            tables = compare(connection, derived.tables) if is_comparable else None
        deque(fold.in_transactions(), maxlen=0)
    return Built(positions=fold.positions, events=fold.events, seconds=seconds, tables=tables)


def swap(connection: Connection, derived: DerivedTables, built: Built) -> None:
    """Take over the tables of the file, which is attached as `built`, and fold the events since."""
    _recreate(connection, derived)
    for table in derived.tables:
        copy_built(connection, table)
    derived.take_over(connection)
    fold = _Fold(connection, derived, positions=built.positions, events=built.events)
    _complete(connection, derived, fold)
    failpoint("in_rebuild_swap")


def _recreate(connection: Connection, derived: DerivedTables) -> None:
    current = derived_state.read(connection)
    derived_state.recreate(connection, derived.tables, current.tables if current else ())


def _complete(connection: Connection, derived: DerivedTables, fold: "_Fold") -> None:
    fold.to_end()
    derived_state.save(connection, derived.state._replace(events=fold.events, is_complete=True))


class _Fold:
    """Applies the events behind some positions, which it moves on."""

    def __init__(
        self,
        connection: Connection,
        derived: DerivedTables,
        before_batch: Callable[[Connection], None] = lambda _connection: None,
        *,
        positions: Positions | None = None,
        events: int = 0,
    ) -> None:
        self.positions = dict(positions or {})
        self.events = events
        """How many were applied."""
        self._connection = connection
        self._derived = derived
        self._before_batch = before_batch

    def in_transactions(self) -> Iterator[int]:
        """Apply all there are, each batch in a transaction of its own, after which it yields the number so far."""
        while True:
            with self._connection.begin():
                applied = self._apply_batch()
            yield self.events
            if applied < BATCH_EVENTS:
                return

    def to_end(self) -> None:
        """Apply all that the current transaction sees."""
        while self._apply_batch() == BATCH_EVENTS:
            pass

    def _apply_batch(self) -> int:
        self._before_batch(self._connection)
        events = self._derived.events_after(self._connection, self.positions, BATCH_EVENTS)
        try:
            with self._connection.begin_nested():
                self._derived.apply(self._connection, events)
        except IntegrityError:  # a unique value moved from one entity to another within the batch
            for recorded in events:
                self._derived.apply(self._connection, [recorded])
        self.positions |= {recorded.source: recorded.position for recorded in events}
        self.events += len(events)
        return len(events)


def _end_of_log(connection: Connection, *, source: str) -> Positions:
    return {source: event_log.last_position(connection)}


def _log_after(
    connection: Connection, positions: Positions, most: int, *, source: str, catalog: Catalog
) -> Sequence[RecordedEvent]:
    return event_log.read_after(connection, source, catalog, positions.get(source, 0), most)


def _fold(
    connection: Connection,
    events: Sequence[RecordedEvent],
    *,
    store: EntityStore[State],
    evolve: Callable[[State, RecordedEvent], State],
) -> None:
    """As the unit of work does, but for tables that keep something of consumed events: those stay as they are."""
    ids: set[str] = set().union(*touches(*(recorded.event for recorded in events)).values())
    before = store.load_any(connection, ids)
    after = reduce(evolve, events, before)
    store.save(connection, before, after, only_derived=True)
