"""The notifier's tables, and the way between their rows and the domain's structs."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Connection, Index, Integer, MetaData, Table, Text, select

from notifier_service.domain import (
    Command,
    KnownCustomer,
    KnownOrder,
    Notification,
    NotifierState,
    Resend,
)
from notifier_service.mails import Mail
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import (
    Json,
    Rows,
    UtcTime,
    changed,
    read_rows,
    select_in,
    upsert,
)
from shared.contracts import CustomerRegistered, CustomerUpdated, OrderCreated

METADATA = MetaData()

NOTIFICATIONS = Table(
    "notifications",
    METADATA,
    Column("notification_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("event_id", Text),
    Column("template", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("recipient", Text, comment="masked"),
    Column("error", Text),
    Column("resend_of", Text),
    Column("position", Integer, nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
)
Index("notifications_order", NOTIFICATIONS.c.order_id, NOTIFICATIONS.c.position)

MAILS = Table(
    "mails",
    METADATA,
    Column("notification_id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("tracking_number", Text),
    Column("reason", Text),
    Column("failed_items", Json, nullable=False),
    Column("resend_of", Text),
)

KNOWN_ORDERS = Table(
    "known_orders",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("guest", Boolean, nullable=False),
    Column("email", Text),
    Column("locale", Text),
    Column("items", Json, nullable=False),
    Column("total_amount", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("shipping_address", Json),
)

KNOWN_CUSTOMERS = Table(
    "known_customers",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("email", Text, nullable=False),
    Column("locale", Text),
    Column("position", Integer, nullable=False, comment="in the order service's log"),
)


def load(
    connection: Connection, commands: Sequence[Command], heard: Sequence[RecordedEvent]
) -> NotifierState:
    """What became of these mails, the orders they are about, and these orders' customers."""
    wanted = [command.resend_of for command in commands if isinstance(command, Resend)]
    originals = load_mails(connection, wanted)
    mails = [command.mail for command in commands if not isinstance(command, Resend)]
    notification_ids = {*wanted, *(mail.notification_id for mail in mails)}
    order_ids = {mail.order_id for mail in (*mails, *originals.values())}
    room = load_addresses(connection, list(order_ids), list(_customers_told_of(heard)))
    return msgspec.structs.replace(
        room,
        notifications=load_notifications(connection, list(notification_ids)),
        mails=originals,
    )


def _customers_told_of(heard: Sequence[RecordedEvent]) -> set[str]:
    return {
        event.user_id
        for event in (recorded.event for recorded in heard)
        if isinstance(event, CustomerRegistered | CustomerUpdated)
        or (isinstance(event, OrderCreated) and not event.guest)
    }


def load_addresses(
    connection: Connection, order_ids: Sequence[str], user_ids: Iterable[str] = ()
) -> NotifierState:
    """These orders as far as they were heard of, with their customers; and these customers."""
    orders = _orders(select_in(connection, KNOWN_ORDERS, "order_id", order_ids))
    customers = {order.user_id for order in orders.values() if not order.guest}
    rows = select_in(connection, KNOWN_CUSTOMERS, "user_id", list(customers.union(user_ids)))
    return NotifierState(orders=orders, customers=_customers(rows))


def load_mails(connection: Connection, notification_ids: Sequence[str]) -> dict[str, Mail]:
    """These mails, by notification id."""
    return _mails(select_in(connection, MAILS, "notification_id", notification_ids))


def load_notifications(
    connection: Connection, notification_ids: Sequence[str]
) -> dict[str, Notification]:
    """What became of these mails, by notification id."""
    rows = select_in(connection, NOTIFICATIONS, "notification_id", notification_ids)
    return {row["notification_id"]: _notification(row) for row in rows}


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


def read_all(connection: Connection) -> NotifierState:
    """The whole state, for the oracle that compares it with the event log."""
    rows = read_rows(connection, NOTIFICATIONS)
    return NotifierState(
        notifications={row["notification_id"]: _notification(row) for row in rows},
        mails=_mails(read_rows(connection, MAILS)),
        orders=_orders(read_rows(connection, KNOWN_ORDERS)),
        customers=_customers(read_rows(connection, KNOWN_CUSTOMERS)),
    )


def save(connection: Connection, before: NotifierState, after: NotifierState) -> None:
    """Write what has changed."""
    for table, entities in (
        (NOTIFICATIONS, changed(before.notifications, after.notifications)),
        (MAILS, changed(before.mails, after.mails)),
        (KNOWN_ORDERS, changed(before.orders, after.orders)),
        (KNOWN_CUSTOMERS, changed(before.customers, after.customers)),
    ):
        upsert(connection, table, [msgspec.structs.asdict(entity) for entity in entities])


def _notification(row: dict[str, Any]) -> Notification:
    return msgspec.convert(row, Notification)


def _mails(rows: Rows) -> dict[str, Mail]:
    return {row["notification_id"]: msgspec.convert(row, Mail) for row in rows}


def _orders(rows: Rows) -> dict[str, KnownOrder]:
    return {row["order_id"]: msgspec.convert(row, KnownOrder) for row in rows}


def _customers(rows: Rows) -> dict[str, KnownCustomer]:
    return {row["user_id"]: KnownCustomer(**row) for row in rows}
