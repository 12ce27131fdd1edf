"""The events that a service may need back, from the stream and from the read API's archive, in a temporary file.

The stream may hold more than memory does. An event that both contain is stored once, with its place in the stream.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self

from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.cloudevents import decode, decode_stored, encode_stored
from shared.chassis.messages.recorded_event import RecordedEvent, StoredEvent

TABLE = """
CREATE TABLE event (
  event_id TEXT PRIMARY KEY,
  source TEXT NOT NULL,
  position INTEGER NOT NULL,
  recorded_at TEXT NOT NULL,
  subject TEXT NOT NULL,
  body BLOB NOT NULL,
  stream_seq INTEGER NOT NULL,
  in_archive INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX event_place ON event (source, position);
"""
INSERT = """
INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO UPDATE SET in_archive = max(in_archive, excluded.in_archive)
"""
OWN = """
SELECT subject, body, stream_seq, in_archive FROM event
WHERE source = ? AND position > ? ORDER BY position, event_id
"""
ONLY_IN_ARCHIVE = """
SELECT subject, body FROM event WHERE source != ? AND stream_seq = 0 ORDER BY recorded_at, event_id
"""


class PooledEvent(NamedTuple):
    """An event, and where it was."""

    stored: StoredEvent
    stream_seq: int
    """0 if the stream does not contain it."""
    is_in_archive: bool


class EventPool:
    """Closed and deleted with its directory."""

    def __init__(self, file: Path, catalog: Catalog) -> None:
        self._catalog = catalog
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {TABLE}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, events: Iterable[PooledEvent]) -> None:
        """Events of the stream come first: of an event in both, the published body is kept."""
        rows = [
            (
                stored.event_id,
                stored.source,
                stored.position,
                stored.recorded_at.isoformat(),
                stored.subject,
                encode_stored(stored),
                stream_seq,
                is_in_archive,
            )
            for stored, stream_seq, is_in_archive in events
        ]
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.executemany(INSERT, rows)
            cursor.execute("COMMIT")

    def events_of(self, source: str, after: int) -> Iterator[PooledEvent]:
        """By position; more than one at a position contradict each other."""
        for subject, body, stream_seq, is_in_archive in self._connection.execute(
            OWN, (source, after)
        ):
            stored = decode_stored(subject, body, self._catalog)
            yield PooledEvent(stored, stream_seq, bool(is_in_archive))

    def find(self, event_id: str) -> RecordedEvent | None:
        """Raises DecodeError."""
        query = "SELECT subject, body FROM event WHERE event_id = ?"
        row = self._connection.execute(query, (event_id,)).fetchone()
        return decode(row[0], row[1], self._catalog) if row else None

    def only_in_archive(self, without: str) -> Iterator[RecordedEvent]:
        """The events of the other sources that the stream no longer has, oldest first. Raises DecodeError."""
        for subject, body in self._connection.execute(ONLY_IN_ARCHIVE, (without,)):
            yield decode(subject, body, self._catalog)
