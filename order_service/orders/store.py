"""The orders' tables, and the way between their rows and the domain's structs."""

from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec
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

from order_service.orders.domain import Order, Orders
from order_service.tables import METADATA
from shared.chassis.storage.database import (
    Json,
    Rows,
    UtcTime,
    changed,
    insert_all,
    read_rows,
    select_in,
    upsert,
)
from shared.contracts import OrderItem

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


def load(connection: Connection, order_ids: Sequence[str]) -> dict[str, Order]:
    """These orders with their items, by id; those that do not exist are missing."""
    return _assemble(connection, select_in(connection, ORDERS, "order_id", order_ids))


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
    return list(_assemble(connection, rows).values())


def read_all(connection: Connection) -> dict[str, Order]:
    """All of them."""
    return _assemble(connection, read_rows(connection, ORDERS))


def save(connection: Connection, before: Orders, after: Orders) -> None:
    """Write what has changed; the items of an order never do."""
    orders = changed(before, after)
    upsert(connection, ORDERS, [_order_row(order) for order in orders])
    new = [order for order in orders if order.order_id not in before]
    insert_all(connection, ORDER_ITEMS, [row for order in new for row in _item_rows(order)])


def _assemble(connection: Connection, rows: Rows) -> dict[str, Order]:
    items: dict[str, list[OrderItem]] = defaultdict(list)
    order_ids = [row["order_id"] for row in rows]
    lines = select_in(connection, ORDER_ITEMS, "order_id", order_ids)
    for row in sorted(lines, key=itemgetter("order_id", "line")):
        items[row["order_id"]].append(
            OrderItem(
                product_id=row["product_id"],
                name=row["name"],
                quantity=row["quantity"],
                price=row["price"],
            )
        )
    return {
        row["order_id"]: msgspec.convert({**row, "items": items[row["order_id"]]}, Order)
        for row in rows
    }


def _order_row(order: Order) -> dict[str, Any]:
    row = msgspec.structs.asdict(order)
    del row["items"]
    return row


def _item_rows(order: Order) -> Rows:
    return [
        {
            "order_id": order.order_id,
            "line": line,
            "product_id": item.product_id,
            "name": item.name,
            "quantity": item.quantity,
            "price": item.price,
        }
        for line, item in enumerate(order.items)
    ]
