"""The event types that a service consumes, by publisher, and which of their past events it has not handled yet."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, Connection, Table, Text, delete, select

from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, upsert

SUBSCRIBED_TYPE = Table(
    "subscribed_type",
    CHASSIS_METADATA,
    Column("source", Text, primary_key=True),
    Column("event_type", Text, primary_key=True),
    Column("replay_since", UtcTime, comment="NULL when the past is handled"),
)


class SubscribedType(NamedTuple):
    source: str
    event_type: str


def read(connection: Connection) -> dict[SubscribedType, datetime | None]:
    """Since when the events of each type are still to be replayed; None if they are handled."""
    return {
        SubscribedType(row.source, row.event_type): row.replay_since
        for row in connection.execute(select(SUBSCRIBED_TYPE))
    }


def note(
    connection: Connection, types: Collection[SubscribedType], replay_since: datetime | None
) -> None:
    rows = [{**one._asdict(), "replay_since": replay_since} for one in types]
    upsert(connection, SUBSCRIBED_TYPE, rows)


def remove(connection: Connection, types: Collection[SubscribedType]) -> None:
    """These are consumed no more: what is published meanwhile is not received."""
    for one in types:
        connection.execute(
            delete(SUBSCRIBED_TYPE).where(
                SUBSCRIBED_TYPE.c.source == one.source,
                SUBSCRIBED_TYPE.c.event_type == one.event_type,
            )
        )


def forget(connection: Connection) -> None:
    """The past of every type is to be handled: from the stream if that is complete, else by replays."""
    connection.execute(delete(SUBSCRIBED_TYPE))
