"""`execute_many` writes the same values as SQLAlchemy's own execution of many rows."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    create_engine,
    select,
)
from sqlalchemy.exc import IntegrityError

from shared.chassis.storage.database import Json, UtcTime
from shared.chassis.storage.sql import execute_many

NOTES = Table(
    "notes",
    MetaData(),
    Column("key", Text, primary_key=True),
    Column("count", Integer),
    Column("is_read", Boolean),
    Column("body", LargeBinary),
    Column("details", Json),
    Column("at", UtcTime),
)
INSERT = NOTES.insert()
UPDATE = NOTES.update().where(NOTES.c.key == bindparam("which")).values(count=bindparam("now"))
AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
ROWS = [
    {"key": "a", "count": 1, "is_read": True, "body": b"\0", "details": {"x": [1]}, "at": AT},
    {"key": "b", "count": 2, "is_read": None, "body": None, "details": None, "at": None},
]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{tmp_path}/notes.db")
    NOTES.metadata.create_all(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def read(connection: Connection) -> list[dict[str, object]]:
    return [dict(row) for row in connection.execute(select(NOTES)).mappings()]


def test_execute_many_rows_round_trip(connection: Connection) -> None:
    execute_many(connection, INSERT, ROWS)
    assert read(connection) == ROWS


def test_execute_many_stores_like_sqlalchemy(connection: Connection) -> None:
    execute_many(connection, INSERT, ROWS)
    ours = connection.exec_driver_sql("SELECT * FROM notes").all()
    connection.execute(NOTES.delete())
    connection.execute(INSERT, ROWS)
    assert connection.exec_driver_sql("SELECT * FROM notes").all() == ours


def test_execute_many_updates_each_row_separately(connection: Connection) -> None:
    execute_many(connection, INSERT, ROWS)
    execute_many(connection, UPDATE, [{"which": "a", "now": 10}, {"which": "b", "now": 20}])
    assert [row["count"] for row in read(connection)] == [10, 20]


def test_execute_many_keeps_defaults_of_omitted_columns(connection: Connection) -> None:
    execute_many(connection, INSERT, [{"key": "a"}])
    execute_many(connection, INSERT, [{"key": "b", "count": 2}])
    assert [row["count"] for row in read(connection)] == [None, 2]


def test_execute_many_without_rows_executes_nothing(connection: Connection) -> None:
    execute_many(connection, INSERT, [])
    assert read(connection) == []


def test_execute_many_duplicate_row_is_integrity_error(connection: Connection) -> None:
    with pytest.raises(IntegrityError):
        execute_many(connection, INSERT, [*ROWS, ROWS[0]])
