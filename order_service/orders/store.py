"""The orders' tables, and how orders lie in them."""

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    select,
)

from order_service.orders.domain import Order
from order_service.tables import METADATA
from shared.chassis.storage.database import Json, UtcTime, read_rows
from shared.chassis.storage.entity_store import EntityTable

ORDERS = Table(
    "orders",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("guest", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("total_amount", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("email", Text),
    Column("locale", Text),
    Column("shipping_address", Json),
    Column("resume_status", Text),
    Column("cancellation", Text),
    Column("tracking_number", Text),
    Column("reason", Text),
    Column("failed_items", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
Index("orders_of_user", ORDERS.c.user_id, ORDERS.c.order_id)

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

ORDER_TABLE = EntityTable(Order, ORDERS, "order", children={"items": ORDER_ITEMS})


def orders_of_user(
    connection: Connection, user_id: str, before: str | None, most: int, *, with_guests: bool
) -> list[Order]:
    """A customer's newest orders, those made before the order `before` if one is given.

    A guest may have called himself by the customer's id: his orders are none of the customer's.
    """
    query = select(ORDERS).where(ORDERS.c.user_id == user_id)
    if not with_guests:
        query = query.where(ORDERS.c.guest.is_(False))
    if before:
        query = query.where(ORDERS.c.order_id < before)
    query = query.order_by(ORDERS.c.order_id.desc()).limit(most)
    rows = read_rows(connection, ORDERS, query)
    return list(ORDER_TABLE.assemble(connection, rows).values())
