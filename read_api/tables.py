"""The read API's tables. Except for held events, no row depends on when or how interleaved the sources' events came."""

from sqlalchemy import (
    DDL,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    event,
    literal_column,
)
from sqlalchemy.schema import ExecutableDDLElement

from shared.chassis.storage.checkpoints import CheckpointTables
from shared.chassis.storage.database import Json, UtcTime

METADATA = MetaData()

ORDERS = Table(
    "orders",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("order_number", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("guest", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("units", Integer, nullable=False, comment="of all items"),
    Column("total_amount", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("email", Text),
    Column("email_key", Text),
    Column("locale", Text),
    Column("shipping_address", Json),
    Column("is_confirmed", Boolean, nullable=False),
    Column("carrier", Text),
    Column("tracking_number", Text),
    Column("shipped_at", UtcTime),
    Column("delivery_overdue_at", UtcTime),
    Column("reason", Text),
    Column("cancellation", Json),
    Column("failed_items", Json, nullable=False),
    Column("completed_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
Index("orders_paid", ORDERS.c.completed_at, ORDERS.c.currency, ORDERS.c.total_amount)
Index("orders_by_time", ORDERS.c.created_at, ORDERS.c.order_id)
Index("orders_by_number", ORDERS.c.order_number, ORDERS.c.created_at, ORDERS.c.order_id)
Index("orders_of_email", ORDERS.c.email_key, ORDERS.c.created_at, ORDERS.c.order_id)
Index("orders_of_user", ORDERS.c.user_id, ORDERS.c.created_at, ORDERS.c.order_id)
Index("orders_in_status", ORDERS.c.status, ORDERS.c.created_at, ORDERS.c.order_id)

ORDER_ITEMS = Table(
    "order_items",
    METADATA,
    Column("order_id", Text, ForeignKey(ORDERS.c.order_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("name", Text),
    Column("quantity", Integer, nullable=False),
    Column("price", Integer, nullable=False),
)
Index("orders_of_product", ORDER_ITEMS.c.product_id, ORDER_ITEMS.c.order_id)

CUSTOMERS = Table(
    "customers",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text),
    Column("locale", Text),
    Column("role", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
Index("customers_by_email", CUSTOMERS.c.email)
Index("customers_by_time", CUSTOMERS.c.created_at, CUSTOMERS.c.user_id)

CARTS = Table(
    "carts",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("updated_at", UtcTime, nullable=False),
)
Index("carts_by_time", CARTS.c.updated_at, CARTS.c.user_id)

CART_ITEMS = Table(
    "cart_items",
    METADATA,
    Column("user_id", Text, ForeignKey(CARTS.c.user_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price", Integer, nullable=False),
)

PRODUCTS = Table(
    "products",
    METADATA,
    Column("product_id", Text, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price", Integer, nullable=False),
    Column("category", Text),
    Column("image_url", Text),
    Column("on_hand", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

Index("products_by_price", PRODUCTS.c.is_deleted, PRODUCTS.c.price, PRODUCTS.c.product_id)
Index("products_by_name", PRODUCTS.c.is_deleted, PRODUCTS.c.name, PRODUCTS.c.product_id)
Index("products_in_category", PRODUCTS.c.is_deleted, PRODUCTS.c.category, PRODUCTS.c.product_id)
# None by stock: every order would change it, and a catalogue is small.

SEARCHED_COLUMNS = (
    PRODUCTS.c.product_id,
    PRODUCTS.c.name,
    PRODUCTS.c.description,
    PRODUCTS.c.category,
)
PRODUCT_SEARCH = Table(
    "product_search", MetaData(), Column("rowid", Integer), Column("product_search", Text)
)
"""SQLite's index of trigrams, made as below, which triggers keep in the transaction that changes a product.

`rowid` is the product's number, and the column of the table's own name is what MATCH takes.
"""
_NAMES = ", ".join(column.name for column in SEARCHED_COLUMNS)
_NEW = ", ".join(f"new.{column.name}" for column in SEARCHED_COLUMNS)
_HAS_CHANGED = " OR ".join(
    f"old.{column.name} IS NOT new.{column.name}"
    for column in (*SEARCHED_COLUMNS, PRODUCTS.c.number)
)
_PRODUCT_SEARCH_DDL = (
    f"CREATE VIRTUAL TABLE product_search USING fts5 ({_NAMES}, tokenize = 'trigram')",
    f"""
    CREATE TRIGGER product_inserted AFTER INSERT ON products BEGIN
      INSERT INTO product_search (rowid, {_NAMES}) VALUES (new.number, {_NEW});
    END
    """,  # noqa: S608 - names of columns
    f"""
    CREATE TRIGGER product_updated AFTER UPDATE ON products WHEN {_HAS_CHANGED} BEGIN
      DELETE FROM product_search WHERE rowid = old.number;
      INSERT INTO product_search (rowid, {_NAMES}) VALUES (new.number, {_NEW});
    END
    """,  # noqa: S608 - names of columns
)


def _in_sqlite(statement: str) -> ExecutableDDLElement:
    ddl: ExecutableDDLElement = DDL(statement)  # type: ignore[no-untyped-call]  # of SQLAlchemy
    return ddl.execute_if(dialect="sqlite")


for _statement in _PRODUCT_SEARCH_DDL:
    event.listen(PRODUCTS, "after_create", _in_sqlite(_statement))
event.listen(PRODUCTS, "after_drop", _in_sqlite("DROP TABLE IF EXISTS product_search"))

RESERVATIONS = Table(
    "reservations",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("items", Json, nullable=False),
    Column("reason", Text),
    Column("failed_items", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
IS_RESERVED = RESERVATIONS.c.status == literal_column("'RESERVED'")
"""As a literal, which a query must repeat to use the index."""
Index(
    "reservations_reserved",
    RESERVATIONS.c.order_id,
    sqlite_where=IS_RESERVED,
    postgresql_where=IS_RESERVED,
)

SHIPMENTS = Table(
    "shipments",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("shipment_id", Text),
    Column("status", Text, nullable=False),
    Column("items", Json, nullable=False),
    Column("shipping_address", Json),
    Column("carrier", Text),
    Column("reference", Text),
    Column("booking_attempts", Integer, nullable=False),
    Column("tracking_number", Text),
    Column("reason", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
Index("shipments_by_time", SHIPMENTS.c.created_at, SHIPMENTS.c.order_id)
Index("shipments_in_status", SHIPMENTS.c.status, SHIPMENTS.c.created_at, SHIPMENTS.c.order_id)

NOTIFICATIONS = Table(
    "notifications",
    METADATA,
    Column("notification_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("resend_of", Text),
    Column("template", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("recipient", Text),
    Column("error", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
Index("notifications_of_order", NOTIFICATIONS.c.order_id)

EVENTS = Table(
    "events",
    METADATA,
    Column("source", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False, server_default="1"),
    Column("entity_id", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("causation_id", Text),
    Column("recorded_at", UtcTime, nullable=False),
    Column("data", Json, nullable=False),
    Column("actor", Text),
)
EVENT_ORDER = (EVENTS.c.recorded_at, EVENTS.c.source, EVENTS.c.position)
"""Events by time. What one batch of a service recorded has one time, and its order is that of the positions."""
Index("events_newest", *EVENT_ORDER)
Index("events_of_type", EVENTS.c.event_type, *EVENT_ORDER)
Index("events_of_entity", EVENTS.c.entity_id, *EVENT_ORDER)
Index("events_of_correlation", EVENTS.c.correlation_id, EVENTS.c.source, EVENTS.c.position)

CHECKPOINT_TABLES = CheckpointTables(METADATA)
POSITIONS = CHECKPOINT_TABLES.positions
PASSED_OVER = CHECKPOINT_TABLES.passed_over
HELD_EVENTS = CHECKPOINT_TABLES.held
