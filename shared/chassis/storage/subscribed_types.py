"""The event types that a service consumes and whose past it has handled, by publisher: for others it asks for replays."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Column, Connection, Table, Text, delete, select

from shared.chassis.storage.database import CHASSIS_METADATA, insert_missing

SUBSCRIBED_TYPE = Table(
    "subscribed_type",
    CHASSIS_METADATA,
    Column("source", Text, primary_key=True),
    Column("event_type", Text, primary_key=True),
)


class SubscribedType(NamedTuple):
    source: str
    event_type: str


def read(connection: Connection) -> set[SubscribedType]:
    return {
        SubscribedType(row.source, row.event_type)
        for row in connection.execute(select(SUBSCRIBED_TYPE))
    }


def add(connection: Connection, types: Collection[SubscribedType]) -> None:
    """The past of these is handled."""
    insert_missing(connection, SUBSCRIBED_TYPE, [one._asdict() for one in types])


def remove(connection: Connection, types: Collection[SubscribedType]) -> None:
    """These are consumed no more: what is published meanwhile is not received."""
    for one in types:
        connection.execute(
            delete(SUBSCRIBED_TYPE).where(
                SUBSCRIBED_TYPE.c.source == one.source,
                SUBSCRIBED_TYPE.c.event_type == one.event_type,
            )
        )
