"""Tables in an SQLite file beside the service's database: they are built there while the database is in use.

A process that builds them has the file as its main database and the service's attached, read-only. SQLite looks for a
table without a schema in the main database first: what is built is read and written in the file, and everything else is
read from the service's database.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import URL, Connection, NullPool, Table, create_engine, event

from shared.chassis.storage.database import BUSY_MILLISECONDS

IN_USE = "in_use"
"""The schema of the service's database where tables are built."""
BUILT = "built"
"""The schema of the file where the service takes its tables over."""
CACHE_KIBIBYTES = 64 * 1024


class TableComparison(msgspec.Struct, frozen=True, kw_only=True):
    """How a table in use differed from the one that was built of the same events."""

    table: str
    rows: int
    """Of the one that was built."""
    missing: int
    """Rows that were built and are not in use."""
    unexpected: int
    """Rows in use that were not built."""
    changed: int
    """Rows with other values."""

    @property
    def differences(self) -> int:
        return self.missing + self.unexpected + self.changed


def rebuild_file(url: URL) -> Path:
    """Where the tables of this database are built: order.rebuild.db."""
    return Path(str(url.database)).with_suffix(".rebuild.db")


def delete_rebuild_file(file: Path) -> None:
    """Delete the file if there is one: without the process that builds in it, it is of no use."""
    file.unlink(missing_ok=True)


@contextmanager
def open_rebuild_file(file: Path, database: Path) -> Iterator[Connection]:
    """A new file to build in, with the service's database attached as `in_use`."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, uri=True, isolation_level=None)
        for pragma in (
            # Nothing of the file survives a crash, so nothing has to be durable.
            "journal_mode=MEMORY",
            "synchronous=OFF",
            "foreign_keys=ON",
            f"cache_size=-{CACHE_KIBIBYTES}",
            f"busy_timeout={BUSY_MILLISECONDS}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"ATTACH ? AS {IN_USE}", [f"{database.absolute().as_uri()}?mode=ro"])
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "begin", _begin)
    with engine.connect() as connection:
        yield connection


def compare(connection: Connection, tables: Iterable[Table]) -> list[TableComparison]:
    """Every row that was built with the one in use; the caller's transaction makes it one state of the database."""
    return [_compare(connection, table) for table in tables]


def copy_built(connection: Connection, table: Table) -> None:
    """Fill the service's table, which is empty, from the file that is attached as `built`.

    Without a list of columns, triggers and foreign keys to check, SQLite copies whole records.
    """
    name = table.name
    connection.exec_driver_sql(f'INSERT INTO main."{name}" SELECT * FROM {BUILT}."{name}"')  # noqa: S608 - names of tables


def _compare(connection: Connection, table: Table) -> TableComparison:
    keys = [column.name for column in table.primary_key]
    values = [column.name for column in table.columns if column.name not in keys]
    same_key = " AND ".join(f'used."{key}" = new."{key}"' for key in keys)
    differs = " OR ".join(f'used."{name}" IS NOT new."{name}"' for name in values) or "0"
    is_missing = f'used."{keys[0]}" IS NULL'
    row = connection.exec_driver_sql(
        f"""
        SELECT count(*), coalesce(sum({is_missing}), 0),
          coalesce(sum(NOT {is_missing} AND ({differs})), 0),
          (SELECT count(*) FROM {IN_USE}."{table.name}")
        FROM main."{table.name}" AS new
        LEFT JOIN {IN_USE}."{table.name}" AS used ON {same_key}
        """  # noqa: S608 - names of tables and columns
    ).one()
    rows, missing, changed, rows_in_use = row
    return TableComparison(
        table=str(table.name),
        rows=rows,
        missing=missing,
        unexpected=rows_in_use - (rows - missing),
        changed=changed,
    )


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
