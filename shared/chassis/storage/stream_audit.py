"""Which state of the stream the event log was last compared with, message by message."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, Connection, Integer, Table, Text, delete, select

from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, insert_all

STREAM_AUDIT = Table(
    "stream_audit",
    CHASSIS_METADATA,
    Column("epoch", Text, primary_key=True, comment="of the stream: another one is another stream"),
    Column("server_id", Text, nullable=False, comment="of the broker's process"),
    Column("holes", Integer, nullable=False, comment="messages missing between first and last"),
    Column("audited_at", UtcTime, nullable=False),
)


class StreamAudit(NamedTuple):
    """The one row of `stream_audit`."""

    epoch: str
    server_id: str
    holes: int
    audited_at: datetime


def read(connection: Connection) -> StreamAudit | None:
    """The last complete audit; None before the first."""
    row = connection.execute(select(STREAM_AUDIT)).one_or_none()
    return StreamAudit(*row) if row else None


def save(connection: Connection, audit: StreamAudit) -> None:
    """Replace the last one."""
    connection.execute(delete(STREAM_AUDIT))
    insert_all(connection, STREAM_AUDIT, [audit._asdict()])
