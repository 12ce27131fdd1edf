"""Queries as async code, on a real SQLite file beside a real writer."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.chassis.storage import database as database_module
from shared.chassis.storage.database import (
    Database,
    DatabaseDamaged,
    insert_all,
    open_for_writing,
)
from shared.chassis.storage.reader import CONNECTIONS, Reader
from tests.support.damage import damage

METADATA = MetaData()
NOTES = Table(
    "notes", METADATA, Column("id", Integer, primary_key=True), Column("text", Text, nullable=False)
)
COUNT = select(func.count()).select_from(NOTES)
OF_TEXT = select(NOTES.c.id).where(NOTES.c.text == bindparam("text"))
MANY_STEPS = """
WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers LIMIT {})
SELECT count(*) FROM numbers
"""


class Notes(NamedTuple):
    """A database with one table, its writer and a reader."""

    path: Path
    database: Database
    reader: Reader

    async def write(self, *texts: str) -> None:
        rows = [{"text": text} for text in texts]
        await self.database.run(lambda connection: insert_all(connection, NOTES, rows))

    async def count(self) -> int:
        [(number,)] = await self.reader.fetch(COUNT)
        return number


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Notes]:
    path = tmp_path / "notes.db"
    database, reader = open_for_writing(f"sqlite:///{path}"), Reader(f"sqlite:///{path}")
    await database.run(METADATA.create_all)
    yield Notes(path, database, reader)
    await reader.close()
    await database.close()


async def count(connection: AsyncConnection) -> int:
    return (await connection.execute(COUNT)).scalar_one()


def wal_can_be_emptied(path: Path) -> bool:
    connection = sqlite3.connect(path)
    try:
        (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    return not is_busy


async def test_fetch_sees_every_commit(notes: Notes):
    assert await notes.count() == 0
    await notes.write("first", "second")
    assert await notes.count() == 2
    assert [row.id for row in await notes.reader.fetch(OF_TEXT, text="second")] == [2]


async def test_snapshot_sees_no_later_commit(notes: Notes):
    async with notes.reader.snapshot() as connection:
        assert await count(connection) == 0
        await notes.write("later")
        assert await count(connection) == 0
    assert await notes.count() == 1


async def test_ended_snapshot_does_not_hold_the_wal(notes: Notes):
    for _ in range(CONNECTIONS + 1):
        async with notes.reader.snapshot() as connection:
            await count(connection)
        await notes.write("more")
    assert wal_can_be_emptied(notes.path)


async def test_failed_snapshot_does_not_hold_the_wal(notes: Notes):
    async def fail() -> None:
        async with notes.reader.snapshot() as connection:
            await count(connection)
            await connection.exec_driver_sql("SELECT nothing FROM nowhere")

    for _ in range(CONNECTIONS + 1):
        with pytest.raises(OperationalError, match="nowhere"):
            await fail()
    await notes.write("more")
    assert wal_can_be_emptied(notes.path)
    assert await notes.count() == 1


@pytest.mark.parametrize("is_snapshot", [False, True])
async def test_cancelled_queries_give_their_connections_back(notes: Notes, is_snapshot: bool):
    async def query() -> None:
        if not is_snapshot:
            await notes.reader.fetch(text(MANY_STEPS.format(200_000)))
        async with notes.reader.snapshot() as connection:
            await count(connection)
            await connection.exec_driver_sql(MANY_STEPS.format(200_000))

    for number in range(CONNECTIONS + 1):
        querying = asyncio.create_task(query())
        await asyncio.sleep(0.005 * number)
        querying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await querying
    await notes.write("more")
    async with asyncio.timeout(20):
        assert await notes.count() == 1
    assert wal_can_be_emptied(notes.path)


async def test_more_queries_than_connections_all_get_answers(notes: Notes):
    await notes.write("one")
    assert await asyncio.gather(*(notes.count() for _ in range(10 * CONNECTIONS))) == [1] * 40


async def test_slow_query_does_not_delay_others(notes: Notes):
    async def slow() -> None:
        async with notes.reader.snapshot() as connection:
            await connection.exec_driver_sql(MANY_STEPS.format(500_000))

    querying = asyncio.create_task(slow())
    await asyncio.sleep(0)
    for _ in range(10):
        await notes.count()
    assert not querying.done()
    await querying


async def test_reader_cannot_write(notes: Notes):
    with pytest.raises(OperationalError, match="readonly"):
        async with notes.reader.snapshot() as connection:
            await connection.execute(NOTES.insert(), {"id": 1, "text": "x"})
    assert await notes.count() == 0


async def test_error_does_not_contain_parameters(notes: Notes):
    query = select(func.json(bindparam("text")))
    with pytest.raises(OperationalError) as caught:
        await notes.reader.fetch(query, text="secret")
    assert "secret" not in str(caught.value)


async def test_query_waits_while_the_wal_is_emptied(notes: Notes):
    gate = database_module.may_read(notes.database.url)
    gate.clear()
    counting = asyncio.create_task(notes.count())
    await asyncio.sleep(0.05)
    assert not counting.done()
    gate.set()
    assert await counting == 0


@pytest.mark.parametrize("is_snapshot", [False, True])
async def test_damaged_file_is_named(tmp_path: Path, is_snapshot: bool):
    path = tmp_path / "notes.db"
    database = open_for_writing(f"sqlite:///{path}")
    await database.run(METADATA.create_all)
    await database.close()
    damage(path, "notes")
    reader = Reader(f"sqlite:///{path}")

    async def query() -> None:
        if is_snapshot:
            async with reader.snapshot() as connection:
                await connection.execute(select(NOTES))
        else:
            await reader.fetch(select(NOTES))

    with pytest.raises(DatabaseDamaged, match=f"{path} is damaged"):
        await query()
    with pytest.raises(DatabaseDamaged):
        await reader.watch()
    await reader.close()


async def test_file_that_is_no_database_is_named(tmp_path: Path):
    path = tmp_path / "notes.db"
    path.write_bytes(b"This is not a database. " * 100)
    reader = Reader(f"sqlite:///{path}")
    with pytest.raises(DatabaseDamaged, match="file is not a database"):
        await reader.fetch(COUNT)
    await reader.close()
