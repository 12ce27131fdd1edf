"""The order service's tables, and the way between their rows and the domain's structs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
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
    MetaData,
    Table,
    Text,
    select,
)

from order_service.domain import Command, Desk, ListPrice, Order, PlaceOrder
from shared.contracts import Event, OrderItem, ProductCreated, ProductDeleted, ProductUpdated
from shared.contracts.recorded import Recorded
from shared.database import Json, Rows, UtcTime, changed, insert_all, read_rows, select_in, upsert

TABLES = MetaData()

ORDERS = Table(
    "orders",
    TABLES,
    Column("order_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
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
    TABLES,
    Column("order_id", Text, ForeignKey(ORDERS.c.order_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("name", Text),
    Column("quantity", Integer, nullable=False),
    Column("price", Integer, nullable=False),
)

LIST_PRICES = Table(
    "list_prices",
    TABLES,
    Column("product_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("price", Integer, nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    Column("position", Integer, nullable=False, comment="of inventory's log"),
)


def load(connection: Connection, commands: Sequence[Command], heard: Sequence[Recorded]) -> Desk:
    """The orders and prices that these touch."""
    placed = [command for command in commands if isinstance(command, PlaceOrder)]
    wanted = {item.product_id for command in placed for item in command.items}
    wanted |= {event.product_id for event in _product_events(heard)}
    known = {command.order_id for command in commands}
    return Desk(
        orders=load_orders(connection, list(known)),
        prices={
            row["product_id"]: ListPrice(**row)
            for row in select_in(connection, LIST_PRICES, "product_id", list(wanted))
        },
    )


def load_orders(connection: Connection, order_ids: Sequence[str]) -> dict[str, Order]:
    """These orders with their items, by id; those that do not exist are missing."""
    return _assemble(connection, select_in(connection, ORDERS, "order_id", order_ids))


def orders_of_user(
    connection: Connection, user_id: str, before: str | None, most: int
) -> list[Order]:
    """A customer's newest orders, those made before the order `before` if one is given."""
    query = select(ORDERS).where(ORDERS.c.user_id == user_id)
    if before:
        query = query.where(ORDERS.c.order_id < before)
    query = query.order_by(ORDERS.c.order_id.desc()).limit(most)
    rows = read_rows(connection, ORDERS, query)
    return list(_assemble(connection, rows).values())


def read_all(connection: Connection) -> Desk:
    """The whole state, for the oracle that compares it with the event log."""
    return Desk(
        orders=_assemble(connection, read_rows(connection, ORDERS)),
        prices={row["product_id"]: ListPrice(**row) for row in read_rows(connection, LIST_PRICES)},
    )


def save(connection: Connection, before: Desk, after: Desk) -> None:
    """Write what has changed."""
    orders = changed(before.orders, after.orders)
    upsert(connection, ORDERS, [_order_row(order) for order in orders])
    new = [order for order in orders if order.order_id not in before.orders]
    insert_all(connection, ORDER_ITEMS, [row for order in new for row in _item_rows(order)])
    prices = changed(before.prices, after.prices)
    upsert(connection, LIST_PRICES, [msgspec.structs.asdict(price) for price in prices])


def _product_events(
    heard: Sequence[Recorded],
) -> Iterable[ProductCreated | ProductUpdated | ProductDeleted]:
    for recorded in heard:
        event: Event = recorded.event
        if isinstance(event, ProductCreated | ProductUpdated | ProductDeleted):
            yield event


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
