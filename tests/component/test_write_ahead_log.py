"""The write-ahead log under overlapping readers, for which SQLite alone never truncates it."""

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection

from shared.chassis.storage import database as module
from shared.chassis.storage.database import (
    COMMITS_BETWEEN_CHECKS,
    Database,
    open_for_reading,
    open_for_writing,
)

LIMIT_BYTES = 256 * 1024
COMMIT_BYTES = 8 * 1024
COMMITS = 6 * COMMITS_BETWEEN_CHECKS
READ_SECONDS = 0.01


def create(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE noted (content BLOB)")


def write(connection: Connection) -> None:
    connection.exec_driver_sql(f"INSERT INTO noted VALUES (zeroblob({COMMIT_BYTES}))")


def read(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT count(*) FROM noted").fetchone()
    time.sleep(READ_SECONDS)


async def read_always(reads: Database, delay_seconds: float) -> None:
    """One read transaction after the other; a second reader is in its middle when the first one ends."""
    await asyncio.sleep(delay_seconds)
    while True:
        await reads.run(read)


def wal_bytes(database: Database) -> int:
    return Path(f"{database.url.database}-wal").stat().st_size


async def test_overlapping_readers_do_not_grow_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAL_LIMIT_BYTES", LIMIT_BYTES)
    url = f"sqlite:///{tmp_path / 'some.db'}"
    database, reads = open_for_writing(url), open_for_reading(url)
    await database.run(create)
    readers = [
        asyncio.create_task(read_always(reads, number * READ_SECONDS / 2)) for number in range(2)
    ]
    sizes = []
    for _ in range(COMMITS):
        await database.run(write)
        sizes.append(wal_bytes(database))
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    await reads.close()
    await database.close()
    assert min(sizes[COMMITS_BETWEEN_CHECKS:]) < LIMIT_BYTES, "it was emptied under the readers"
    assert max(sizes) > LIMIT_BYTES, "and had to be"
