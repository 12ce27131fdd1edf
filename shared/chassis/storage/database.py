"""The service's own database: engines, column types, and SQL that differs between the two dialects."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import structlog
from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Dialect,
    Engine,
    Insert,
    MetaData,
    Select,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    event,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from shared.chassis.errors import FatalError
from shared.chassis.settings import ChassisSettings, SettingsError
from shared.chassis.storage import msgspec_warmup
from shared.chassis.storage.sql import any_of, execute_many

T = TypeVar("T")

log = structlog.get_logger()

READING_THREADS = 4
BUSY_MILLISECONDS = 5000
STOPPING_BUSY_MILLISECONDS = 500
"""A process that stops has no time to wait for a lock: it must end within ten seconds."""
WAL_LIMIT_BYTES = 16 * 1024 * 1024
"""From this size on the writer empties the write-ahead log; without overlapping readers SQLite keeps it at 4 MiB."""
COMMITS_BETWEEN_CHECKS = 64
INSTRUCTIONS_BETWEEN_CHECKS = 1000
"""Of SQLite's virtual machine, between two looks whether an attached transaction is to be aborted: about a millisecond."""
WAL_TRUNCATION_WAIT_MILLISECONDS = 1000
"""For readers, while no transaction is written."""
NO_SQLITE_FILE = (
    "QUADRILLE_DATABASE_URL: expected sqlite:///<file>; other databases are not supported yet"
)
ANSWER_SECONDS = 0.5
"""Between the detection of damage and the end of the process, so that requests under way are answered."""
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

Rows = list[dict[str, Any]]

CHASSIS_METADATA = MetaData()
"""The tables that every service has: event_log, inbox, dead_letter, task, idempotency_key,
signing_key, signing_key_revocation, token_version, link_key, database_identity, derived_state, stream_audit, subscribed_type."""


class DatabaseDamaged(FatalError):
    """The database file is damaged, and no retry repairs it."""


TRANSIENT_DATABASE_ERRORS = (SQLAlchemyError, OSError, MemoryError, DatabaseDamaged)
"""Raised by the database, its driver or the machine, whatever is processed: try again later."""


@lru_cache
def rfc3339(moment: datetime) -> str:
    """2026-11-20T23:05:10.000000Z: of fixed width, so that it sorts as text."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


class UtcTime(TypeDecorator[datetime]):
    """RFC 3339 UTC text of fixed width: readable with any tool, and sorted like time."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else rfc3339(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else datetime.fromisoformat(value)


class Json(TypeDecorator[Any]):
    """A value as JSON text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ANN401, ARG002 - SQLAlchemy's signature
        return None if value is None else msgspec.json.decode(value)


class DamageDetector:
    """Recognizes errors that only a damaged file explains, and reports the first one."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._damage: DatabaseDamaged | None = None
        self._is_damaged = asyncio.Event()

    @contextmanager
    def detecting(self) -> Iterator[None]:
        """Raises DatabaseDamaged instead of the driver's error for a damaged file."""
        try:
            yield
        except DatabaseError as error:
            if not _is_damage(error):
                raise
            self._damage = DatabaseDamaged(
                f"the database {self._url.database} is damaged ({error.orig}): "
                "restore it with quadrille restore, or delete it if it is the read API's"
            )
            self._is_damaged.set()
            raise self._damage from error

    async def watch(self) -> None:
        """Wait until damage is found. Raises DatabaseDamaged."""
        await self._is_damaged.wait()
        await asyncio.sleep(ANSWER_SECONDS)
        if self._damage:
            raise self._damage


class Database:
    """An SQLAlchemy engine on threads of its own: each transaction is one function that runs from BEGIN to COMMIT.

    Nothing can be awaited while it holds the lock, and the event loop never waits for the disk.
    """

    def __init__(self, engine: Engine, threads: int, *, is_writer: bool = False) -> None:
        msgspec_warmup.prepare()
        self._engine = engine
        self._commits = 0
        self._is_writer = is_writer
        self._is_stopping = False
        self._may_read = may_read(engine.url)
        self._wal_limit_bytes = WAL_LIMIT_BYTES
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")
        self._damage = DamageDetector(engine.url)

    @property
    def url(self) -> URL:
        """The URL; printing it hides the password."""
        return self._engine.url

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction: committed when it returns, rolled back when it raises.

        Raises DatabaseDamaged for a damaged file, and every other error unchanged.
        """
        loop = asyncio.get_running_loop()
        with self._damage.detecting():
            return await loop.run_in_executor(self._threads, self._transact, work)

    async def run_attached(
        self,
        file: Path,
        schema: str,
        work: Callable[[Connection], T],
        *,
        should_abort: Callable[[], bool],
    ) -> T:
        """As `run`, with another SQLite file attached as `schema`, and without checks of foreign keys.

        `should_abort` is called in the database's thread now and then; the transaction fails once it returns true.
        """
        transact = partial(self._transact_attached, file, schema, work, should_abort)
        with self._damage.detecting():
            return await asyncio.get_running_loop().run_in_executor(self._threads, transact)

    async def watch(self) -> None:
        """Wait until a transaction finds the file damaged. Raises DatabaseDamaged."""
        await self._damage.watch()

    def begin_stop(self) -> None:
        """From the next transaction on, wait only briefly for a lock that another process has."""
        self._is_stopping = True

    async def close(self) -> None:
        """Finish running transactions, and close the file."""
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    def _transact(self, work: Callable[[Connection], T]) -> T:
        if not self._is_writer:
            self._may_read.wait()
        if self._is_stopping:
            self._set_busy_timeout(STOPPING_BUSY_MILLISECONDS)
        with self._engine.begin() as connection:
            result = work(connection)
        self._commits += 1
        if self._is_writer and self._commits % COMMITS_BETWEEN_CHECKS == 0:
            self._limit_wal()
        return result

    def _set_busy_timeout(self, milliseconds: int) -> None:
        connection = self._engine.raw_connection()
        connection.cursor().execute(f"PRAGMA busy_timeout={milliseconds}")
        connection.close()  # back to the pool, which gives it to this thread again

    def _transact_attached(
        self,
        file: Path,
        schema: str,
        work: Callable[[Connection], T],
        should_abort: Callable[[], bool],
    ) -> T:
        with self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA foreign_keys=OFF")
            driver.execute(f"ATTACH ? AS {schema}", [str(file)])
            driver.set_progress_handler(should_abort, INSTRUCTIONS_BETWEEN_CHECKS)
            try:
                with connection.begin():
                    result = work(connection)
            finally:
                connection.invalidate()  # the next transaction gets a connection without the file
        self._checkpoint_beside_readers()
        self._limit_wal()
        return result

    def _checkpoint_beside_readers(self) -> None:
        """After a large transaction, so that readers wait only for the rest."""
        connection = self._engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.OperationalError as error:  # the commit stands
            log.warning("checkpoint.failed", reason=str(error))
        finally:
            connection.close()

    def _limit_wal(self) -> None:
        """Empty a large write-ahead log: SQLite itself does not while some reader always uses it.

        New readers of this process wait meanwhile. If a running one takes too long, the log may grow to twice its
        size before the next attempt, so that a long query does not block the others repeatedly.
        """
        wal = Path(f"{self.url.database}-wal")
        size = wal.stat().st_size if wal.exists() else 0
        if size > self._wal_limit_bytes:
            is_empty = self._truncate_wal()
            self._wal_limit_bytes = WAL_LIMIT_BYTES if is_empty else 2 * size

    def _truncate_wal(self) -> bool:
        connection = self._engine.raw_connection()
        cursor = connection.cursor()
        self._may_read.clear()
        try:
            cursor.execute(f"PRAGMA busy_timeout={WAL_TRUNCATION_WAIT_MILLISECONDS}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            row = cursor.fetchone()
            is_busy = row is None or bool(row[0])
        except sqlite3.OperationalError as error:  # the commit stands
            log.warning("wal_truncation.failed", reason=str(error))
            is_busy = True
        finally:
            self._may_read.set()
            cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
            connection.close()
        return not is_busy


@cache
def may_read(_: URL) -> threading.Event:
    """One for each database, shared by its writer and its readers: cleared while the writer empties the WAL."""
    gate = threading.Event()
    gate.set()
    return gate


def _is_damage(error: DatabaseError) -> bool:
    extended_code: int = getattr(error.orig, "sqlite_errorcode", 0)
    return extended_code & 0xFF in DAMAGED


def database_url(service: str, settings: ChassisSettings) -> str:
    """The service's SQLAlchemy URL: its own file under the data directory unless one is given.

    Raises SettingsError for a URL that names no SQLite file.
    """
    if settings.database_url is None:
        return f"sqlite:///{settings.data_dir / service}.db"
    try:
        given = make_url(settings.database_url)
    except ArgumentError as error:
        raise SettingsError(NO_SQLITE_FILE) from error
    if given.drivername not in {"sqlite", "sqlite+pysqlite"} or not given.database:
        raise SettingsError(NO_SQLITE_FILE)
    return settings.database_url


def open_for_writing(url: str) -> Database:
    """For the single writer: one thread, and every transaction takes the write lock at its start.

    SQLite runs in WAL mode with an fsync at every commit.
    """
    return Database(_engine(url, "BEGIN IMMEDIATE"), threads=1, is_writer=True)


def open_for_reading(url: str) -> Database:
    """For queries: each reads a snapshot, and none waits for the writer."""
    return Database(_engine(url, "BEGIN"), threads=READING_THREADS)


def upsert(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert whole rows, replacing those with the same primary key."""
    execute_many(connection, _upsert(connection.dialect.name, table), rows)


def insert_missing(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert the rows whose primary key does not exist."""
    execute_many(connection, _insert_missing(connection.dialect.name, table), rows)


def insert_all(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert the rows. Raises IntegrityError for one that exists."""
    execute_many(connection, _insert_all(table), rows)


def select_in(connection: Connection, table: Table, column: str, values: Sequence[str]) -> Rows:
    """The rows whose `column` is one of `values`; without values there is no query."""
    if not values:
        return []
    return _rows(table, connection.execute(_select_in(table, column), {"values": values}))


def read_rows(connection: Connection, table: Table, query: Select[Any] | None = None) -> Rows:
    """The result of a query for whole rows of `table` (all rows without a query), by column name."""
    return _rows(table, connection.execute(select(table) if query is None else query))


def _rows(table: Table, result: CursorResult[Any]) -> Rows:
    names = column_names(table)
    return [dict(zip(names, row, strict=True)) for row in result.all()]


@cache
def column_names(table: Table) -> tuple[str, ...]:
    # SQLAlchemy's row keys are a subclass of str, which msgspec does not accept as keys.
    return tuple(str(column.name) for column in table.columns)


# Statements are built once: building one costs as much as running it on a few rows.


@cache
def _select_in(table: Table, column: str) -> Select[Any]:
    return select(table).where(any_of(table.c[column], "values"))


@cache
def _insert_all(table: Table) -> Insert:
    return table.insert()


@cache
def _insert_missing(dialect: str, table: Table) -> sqlite.Insert:
    return _insert(dialect, table).on_conflict_do_nothing()


@cache
def _upsert(dialect: str, table: Table) -> sqlite.Insert:
    insert = _insert(dialect, table)
    keys = [column.name for column in table.primary_key]
    changes = {name: insert.excluded[name] for name in column_names(table) if name not in keys}
    if not changes:
        return insert.on_conflict_do_nothing()
    return insert.on_conflict_do_update(index_elements=keys, set_=changes)


def _insert(dialect: str, table: Table) -> sqlite.Insert:
    if dialect == "postgresql":
        return cast("sqlite.Insert", postgresql.insert(table))
    return sqlite.insert(table)


def _engine(url: str, begin: str) -> Engine:
    engine = create_engine(url, hide_parameters=True)  # an error must not contain what was written
    if engine.dialect.name == "sqlite":

        def begin_transaction(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", begin_transaction)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions start with our own BEGIN
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MILLISECONDS}",
        "journal_size_limit=67108864",  # the WAL shrinks again after a large transaction
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
