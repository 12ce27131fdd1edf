"""Queries as async code, on SQLAlchemy's asyncio engine and aiosqlite.

Every call to aiosqlite is a switch to its thread and back, which costs as much as a short statement itself. So a
statement makes one call here, where SQLAlchemy and aiosqlite alone make four, and a single statement, which is a
snapshot of its own, runs without BEGIN and COMMIT (measured in docs/decisions/0001).
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeVar

import aiosqlite
import msgspec
from sqlalchemy import URL, AsyncAdaptedQueuePool, Connection, Row, Select, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from shared.chassis.storage import msgspec_warmup
from shared.chassis.storage.database import BUSY_MILLISECONDS, DamageDetector, may_read
from shared.chassis.storage.views import to_views

V = TypeVar("V", bound=msgspec.Struct)

CONNECTIONS = 4
WAL_POLL_SECONDS = 0.005
"""Between two looks whether the writer has emptied the write-ahead log."""
INSTRUCTIONS = 10_000
"""Of SQLite's virtual machine, between two looks at the clock: about a millisecond."""
_IS_SNAPSHOT = "is_snapshot"

ResultRows = Sequence[Row[*tuple[Any, ...]]]


class QueryTooExpensive(Exception):
    """A query took more CPU time than it may."""


class Reader:
    """Reads the service's database; nothing is written through it."""

    def __init__(self, url: str) -> None:
        msgspec_warmup.prepare()  # the writer makes structs of rows in its thread at the same time
        self._engine = _engine(make_url(url))
        self._may_read = may_read(make_url(url))
        self._damage = DamageDetector(make_url(url))

    @property
    def dialect(self) -> str:
        """The database's SQL: `sqlite` or `postgresql`."""
        return self._engine.dialect.name

    async def fetch(self, statement: Select[Any], **parameters: object) -> ResultRows:
        """The rows of one statement. Raises DatabaseDamaged for a damaged file, and anything else as it is."""
        return await self._query(lambda connection: connection.execute(statement, parameters).all())

    async def fetch_views(
        self, view: type[V], statement: Select[Any], **parameters: object
    ) -> list[V]:
        """The views of a statement whose first column is `view_as_json`."""
        return to_views(await self.fetch(statement, **parameters), view)

    async def find_view(
        self, view: type[V], statement: Select[Any], **parameters: object
    ) -> V | None:
        """The view of a statement with at most one row."""
        return next(iter(await self.fetch_views(view, statement, **parameters)), None)

    async def fetch_within(self, cpu_seconds: float, statement: Select[Any]) -> ResultRows:
        """As `fetch`, for a statement whose cost a client chooses. Raises QueryTooExpensive."""

        def query(connection: Connection) -> ResultRows:
            with _bound(connection.connection.driver_connection, cpu_seconds):
                return connection.execute(statement).all()

        return await self._query(query)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose statements all see one state of the database. Raises as `fetch` does."""
        await self._wait_for_truncation()
        with self._damage.detecting():
            async with self._engine.connect() as connection:
                await connection.execution_options(**{_IS_SNAPSHOT: True})
                async with connection.begin():
                    yield connection

    async def watch(self) -> None:
        """Wait until a query finds the file damaged. Raises DatabaseDamaged."""
        await self._damage.watch()

    async def close(self) -> None:
        """Close the connections that are not in use."""
        await self._engine.dispose()

    async def _query(self, query: Callable[[Connection], ResultRows]) -> ResultRows:
        """Run it in one greenlet: AsyncConnection uses one for each call and a task to close, 50 µs more."""

        def connect_and_query() -> ResultRows:
            with self._engine.sync_engine.connect() as connection:
                return query(connection)

        await self._wait_for_truncation()
        with self._damage.detecting():
            return await greenlet_spawn(connect_and_query)

    async def _wait_for_truncation(self) -> None:
        while not self._may_read.is_set():  # noqa: ASYNC110 - another thread sets it, rarely
            await asyncio.sleep(WAL_POLL_SECONDS)


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, hide_parameters=True)

    async def connect() -> aiosqlite.Connection:
        return await _Connection(url.database)

    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        async_creator=connect,
        hide_parameters=True,  # an error must not contain what was searched for
        poolclass=AsyncAdaptedQueuePool,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=None,  # requests wait for their turn, without a timer for each
        pool_use_lifo=True,
    )
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


@contextmanager
def _bound(driver: object, cpu_seconds: float) -> Iterator[None]:
    if not isinstance(driver, _Connection):
        yield
        return
    driver.max_cpu_seconds = cpu_seconds
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise QueryTooExpensive from error
        raise
    finally:
        driver.max_cpu_seconds = None


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(_IS_SNAPSHOT):
        connection.exec_driver_sql("BEGIN")


class _Connection(aiosqlite.Connection):
    """Makes one call to the thread for each statement, and none to end a transaction that was not started."""

    def __init__(self, path: str | None) -> None:
        def connect() -> sqlite3.Connection:
            # Our own BEGIN starts transactions.
            connection = sqlite3.connect(path or ":memory:", isolation_level=None)
            connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
            connection.execute("PRAGMA query_only=ON")
            return connection

        super().__init__(connect, iter_chunk_size=64)
        self.max_cpu_seconds: float | None = None
        """Of each statement from now on."""
        self._thread.daemon = True  # a query that is still running does not keep the process alive

    def cursor(self) -> "_Cursor":  # type: ignore[override]  # what SQLAlchemy needs of one
        return _Cursor(self)

    async def query(self, sql: str, parameters: Sequence[object]) -> tuple[Any, list[Any]]:
        """The description and all rows of one statement."""
        # aiosqlite has no public way to run a function of ours on its thread.
        result: tuple[Any, list[Any]] = await self._execute(  # type: ignore[no-untyped-call]
            self._query, sql, parameters, self.max_cpu_seconds
        )
        return result

    async def commit(self) -> None:
        if self.in_transaction:
            await super().commit()

    async def rollback(self) -> None:
        if self.in_transaction:
            await super().rollback()

    def _query(
        self, sql: str, parameters: Sequence[object], max_cpu_seconds: float | None
    ) -> tuple[Any, list[Any]]:
        if max_cpu_seconds is None:
            return self._fetch(sql, parameters)
        end = time.thread_time() + max_cpu_seconds
        self._conn.set_progress_handler(lambda: time.thread_time() > end, INSTRUCTIONS)
        try:
            return self._fetch(sql, parameters)
        finally:
            self._conn.set_progress_handler(None, 0)

    def _fetch(self, sql: str, parameters: Sequence[object]) -> tuple[Any, list[Any]]:
        cursor = self._conn.execute(sql, parameters)
        return cursor.description, cursor.fetchall()


class _Cursor:
    """The part of aiosqlite's cursor that SQLAlchemy uses to read."""

    rowcount = -1
    lastrowid = 0
    arraysize = 1

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        self.description, self._rows = await self._connection.query(sql, parameters)

    async def fetchall(self) -> list[Any]:
        return self._rows

    async def close(self) -> None:
        """Nothing is open: all rows were fetched."""
