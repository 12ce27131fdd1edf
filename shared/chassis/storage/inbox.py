"""The ids of events heard: what makes hearing one twice the same as hearing it once."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, Connection, Index, Table, Text, select

from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, insert_all
from shared.chassis.storage.sql import any_of

INBOX = Table(
    "inbox",
    CHASSIS_METADATA,
    Column("event_id", Text, primary_key=True),
    Column("heard_at", UtcTime, nullable=False),
)
Index("inbox_age", INBOX.c.heard_at)

_SEEN = select(INBOX.c.event_id).where(any_of(INBOX.c.event_id, "ids"))


def processed(connection: Connection, event_ids: Sequence[str]) -> set[str]:
    """Which of these were heard before."""
    if not event_ids:
        return set()
    return set(connection.execute(_SEEN, {"ids": event_ids}).scalars())


def mark_processed(connection: Connection, event_ids: Sequence[str], at: datetime) -> None:
    """From now on these were heard."""
    rows = [{"event_id": event_id, "heard_at": at} for event_id in event_ids]
    insert_all(connection, INBOX, rows)
