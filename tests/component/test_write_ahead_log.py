"""The write-ahead log of a database under readers that overlap, so that SQLite alone never empties it."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection

from shared.database import COMMITS_BETWEEN_CHECKS, WAL_LIMIT_BYTES, Database, open_for_writing

COMMIT_BYTES = 256 * 1024
COMMITS = 4 * WAL_LIMIT_BYTES // COMMIT_BYTES
READ_SECONDS = 0.02


@contextmanager
def reading(path: Path, pause_seconds: float) -> Iterator[None]:
    """One reading transaction after the other; each of two readers is in the middle when the other ends."""
    is_over = threading.Event()

    def read() -> None:
        with closing(sqlite3.connect(path)) as connection:
            while not is_over.is_set():
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM noted").fetchone()
                is_over.wait(pause_seconds)
                connection.execute("COMMIT")

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(pause_seconds / 2)
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def create(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE noted (content BLOB)")


def write(connection: Connection) -> None:
    connection.exec_driver_sql(f"INSERT INTO noted VALUES (zeroblob({COMMIT_BYTES}))")


def wal_bytes(database: Database) -> int:
    return Path(f"{database.url.database}-wal").stat().st_size


async def test_overlapping_readers_do_not_make_the_log_grow(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    database = open_for_writing(f"sqlite:///{path}")
    await database.run(create)
    sizes = []
    with reading(path, READ_SECONDS):
        for _ in range(COMMITS):
            await database.run(write)
            sizes.append(wal_bytes(database))
    await database.close()
    assert max(sizes) < 2 * WAL_LIMIT_BYTES + COMMITS_BETWEEN_CHECKS * COMMIT_BYTES
