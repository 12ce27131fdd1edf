"""The notifier's tables."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Boolean, Column, Connection, Index, Integer, MetaData, Table, Text, select

from notifier_service.domain import (
    KnownCustomer,
    KnownOrder,
    Notification,
    NotifierState,
    evolve,
)
from notifier_service.mails import Mail
from shared.chassis.engine.rebuild import DerivedTables, derived_tables_of
from shared.chassis.messages import clock
from shared.chassis.messages.touches import References
from shared.chassis.storage.database import Json, UtcTime, insert_all
from shared.chassis.storage.entity_store import EntityStore, EntityTable
from shared.contracts import CATALOG

METADATA = MetaData()
VERSIONS = Path(__file__).with_name("versions")

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
    Column("skip_reason", Text),
    Column("resend_of", Text),
    Column("position", Integer, nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
)
Index("notifications_order", NOTIFICATIONS.c.order_id, NOTIFICATIONS.c.position)
Index("notifications_in_status", NOTIFICATIONS.c.status, NOTIFICATIONS.c.position)

MAILS = Table(
    "mails",
    METADATA,
    Column("notification_id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("carrier", Text),
    Column("tracking_number", Text),
    Column("reason", Text),
    Column("cancelled_by", Text),
    Column("explanation", Text),
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

LINK_PRIVATE_KEYS = Table(
    "link_private_keys",
    METADATA,
    Column("key_id", Text, primary_key=True),
    Column("private_key", Text, nullable=False, comment="Ed25519, PKCS 8 in PEM"),
    Column("created_at", UtcTime, nullable=False),
)

NOTIFICATION_TABLE = EntityTable(Notification, NOTIFICATIONS, "notification")

# A mail that is sent again needs its order, and every order its customer.
STORE = EntityStore(
    NotifierState,
    notifications=NOTIFICATION_TABLE,
    mails=EntityTable(Mail, MAILS, "mail", follows=True, is_derived=False),
    orders=EntityTable(KnownOrder, KNOWN_ORDERS, "order", follows=True, is_derived=False),
    customers=EntityTable(KnownCustomer, KNOWN_CUSTOMERS, "customer", is_derived=False),
)


def derived_tables() -> DerivedTables:
    return derived_tables_of("notifier", STORE, evolve, CATALOG)


def link_key(connection: Connection) -> tuple[str, str] | None:
    """The id and the private key that links are signed with, if there is one."""
    keys = LINK_PRIVATE_KEYS.c
    row = connection.execute(select(keys.key_id, keys.private_key)).first()
    return (row.key_id, row.private_key) if row else None


def add_link_key(connection: Connection, key_id: str, private_key: str) -> None:
    row = {"key_id": key_id, "private_key": private_key, "created_at": clock.now()}
    insert_all(connection, LINK_PRIVATE_KEYS, [row])


def load_recipients(connection: Connection, order_ids: Sequence[str]) -> NotifierState:
    """These orders and their customers, if they were received."""
    references = References()
    references["order"].update(order_ids)
    return STORE.load(connection, references)
