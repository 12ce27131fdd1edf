"""The ids of processed events: an event that is delivered again is not processed again."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, Connection, Index, Table, Text, bindparam, literal_column, select

from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, insert_all, upsert
from shared.chassis.storage.sql import any_of, execute_many

INBOX = Table(
    "inbox",
    CHASSIS_METADATA,
    Column("event_id", Text, primary_key=True),
    Column("processed_at", UtcTime, nullable=False),
)
Index("inbox_age", INBOX.c.processed_at)

_LAST_PROCESSED = select(INBOX.c.processed_at).order_by(INBOX.c.processed_at.desc()).limit(1)
_PROCESSED = select(INBOX.c.event_id).where(any_of(INBOX.c.event_id, "ids"))
_FORGET = INBOX.delete().where(INBOX.c.event_id == bindparam("forgotten"))


def processed(connection: Connection, event_ids: Sequence[str]) -> set[str]:
    """Those of these events that were processed before."""
    if not event_ids:
        return set()
    return set(connection.execute(_PROCESSED, {"ids": event_ids}).scalars())


def mark_processed(connection: Connection, event_ids: Sequence[str], at: datetime) -> None:
    """Mark these events as processed."""
    rows = [{"event_id": event_id, "processed_at": at} for event_id in event_ids]
    insert_all(connection, INBOX, rows)


def mark_processed_again(connection: Connection, event_ids: Sequence[str], at: datetime) -> None:
    """Mark events that were dead letters as processed now."""
    rows = [{"event_id": event_id, "processed_at": at} for event_id in event_ids]
    upsert(connection, INBOX, rows)


def forget(connection: Connection, event_ids: Sequence[str]) -> None:
    """Delete ids that no event has: those of messages that could not be decoded."""
    execute_many(connection, _FORGET, [{"forgotten": event_id} for event_id in event_ids])


def last_processed(connection: Connection) -> datetime | None:
    """When the newest one was processed; None without any."""
    moment: datetime | None = connection.execute(_LAST_PROCESSED).scalar()
    return moment


def read_all(connection: Connection) -> dict[str, datetime]:
    """When each event was processed, by event id and in this order."""
    query = select(INBOX).order_by(INBOX.c.processed_at, literal_column("rowid"))
    return {row.event_id: row.processed_at for row in connection.execute(query)}
