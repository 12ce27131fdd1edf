"""The orders' tables."""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
)

from order_service.orders.domain import Order
from order_service.tables import METADATA
from shared.chassis.storage.database import Json, UtcTime
from shared.chassis.storage.entity_store import EntityTable

ORDERS = Table(
    "orders",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("order_number", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("guest", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("total_amount", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("email", Text),
    Column("locale", Text),
    Column("shipping_address", Json),
    Column("resume_status", Text),
    Column("cancellation", Json),
    Column("carrier", Text),
    Column("tracking_number", Text),
    Column("shipped_at", UtcTime),
    Column("delivery_overdue_at", UtcTime),
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
