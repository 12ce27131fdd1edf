"""The notifier's tables, and the way between their rows and the domain's structs."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Index, Integer, MetaData, Table, Text, select

from notifier_service.domain import Command, KnownOrder, Mailroom, Notification
from shared.contracts.recorded import Recorded
from shared.database import (
    Json,
    Rows,
    UtcTime,
    changed,
    insert_all,
    read_rows,
    select_in,
    upsert,
)

TABLES = MetaData()

NOTIFICATIONS = Table(
    "notifications",
    TABLES,
    Column("notification_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("event_id", Text),
    Column("template", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("recipient", Text, comment="masked"),
    Column("error", Text),
    Column("position", Integer, nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
)
Index("notifications_order", NOTIFICATIONS.c.order_id, NOTIFICATIONS.c.position)

KNOWN_ORDERS = Table(
    "known_orders",
    TABLES,
    Column("order_id", Text, primary_key=True),
    Column("email", Text),
    Column("locale", Text),
    Column("items", Json, nullable=False),
    Column("total_amount", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("shipping_address", Json),
)


def load(
    connection: Connection, commands: Sequence[Command], _heard: Sequence[Recorded]
) -> Mailroom:
    """What became of these mails, and the orders they are about; every event heard owes one."""
    mails = [command.mail for command in commands]
    return Mailroom(
        notifications=load_notifications(
            connection, list({each.notification_id for each in mails})
        ),
        orders=load_orders(connection, list({each.order_id for each in mails})),
    )


def load_notifications(
    connection: Connection, notification_ids: Sequence[str]
) -> dict[str, Notification]:
    """What became of these mails, by notification id."""
    rows = select_in(connection, NOTIFICATIONS, "notification_id", notification_ids)
    return {row["notification_id"]: _notification(row) for row in rows}


def load_orders(connection: Connection, order_ids: Sequence[str]) -> dict[str, KnownOrder]:
    """These orders, by order id, as far as they were heard of."""
    return _orders(select_in(connection, KNOWN_ORDERS, "order_id", order_ids))


def latest_notifications(
    connection: Connection, order_id: str | None, before: int | None, most: int
) -> list[Notification]:
    """The log of all orders, or of one, newest first, from `before` on."""
    query = select(NOTIFICATIONS).order_by(NOTIFICATIONS.c.position.desc()).limit(most)
    if order_id is not None:
        query = query.where(NOTIFICATIONS.c.order_id == order_id)
    if before is not None:
        query = query.where(NOTIFICATIONS.c.position < before)
    return [_notification(row) for row in read_rows(connection, NOTIFICATIONS, query)]


def read_all(connection: Connection) -> Mailroom:
    """The whole state, for the oracle that compares it with the event log."""
    rows = read_rows(connection, NOTIFICATIONS)
    return Mailroom(
        notifications={row["notification_id"]: _notification(row) for row in rows},
        orders=_orders(read_rows(connection, KNOWN_ORDERS)),
    )


def save(connection: Connection, before: Mailroom, after: Mailroom) -> None:
    """Write what has changed; a notification never does, once it is there."""
    recorded = changed(before.notifications, after.notifications)
    insert_all(connection, NOTIFICATIONS, [msgspec.structs.asdict(entry) for entry in recorded])
    orders = changed(before.orders, after.orders)
    upsert(connection, KNOWN_ORDERS, [msgspec.structs.asdict(order) for order in orders])


def _notification(row: dict[str, Any]) -> Notification:
    return msgspec.convert(row, Notification)


def _orders(rows: Rows) -> dict[str, KnownOrder]:
    return {row["order_id"]: msgspec.convert(row, KnownOrder) for row in rows}
