"""The inventory service's tables, and the way between their rows and the domain's structs."""

from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    select,
)

from inventory_service.domain import (
    Administration,
    Command,
    InventoryState,
    Product,
    Reservation,
    ReserveStock,
)
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import (
    Rows,
    UtcTime,
    changed,
    insert_all,
    insert_missing,
    read_rows,
    select_in,
    upsert,
)
from shared.contracts import (
    LineItem,
    OrderCancelled,
    OrderFailed,
    ShipmentCancelled,
    ShipmentFailed,
)

METADATA = MetaData()

PRODUCTS = Table(
    "products",
    METADATA,
    Column("product_id", Text, primary_key=True),
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
    CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="stock_is_conserved"),
)

RESERVATIONS = Table(
    "reservations",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

RESERVATION_ITEMS = Table(
    "reservation_items",
    METADATA,
    Column("order_id", Text, ForeignKey(RESERVATIONS.c.order_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, ForeignKey(PRODUCTS.c.product_id), nullable=False),
    Column("quantity", Integer, nullable=False),
)

CLOSED_ORDERS = Table(
    "closed_orders",
    METADATA,
    Column("order_id", Text, primary_key=True),
)


CLOSING = (ShipmentFailed, ShipmentCancelled, OrderFailed, OrderCancelled)


def load(
    connection: Connection, commands: Sequence[Command], heard: Sequence[RecordedEvent]
) -> InventoryState:
    """The reservations and products that these touch, those of the reservations' lines included."""
    orders = {c.order_id for c in commands if not isinstance(c, Administration)}
    closing = {e.key for e in heard if isinstance(e.event, CLOSING)}
    reservations = load_reservations(connection, list(orders))
    wanted = {c.product_id for c in commands if isinstance(c, Administration)}
    wanted |= {line.product_id for c in commands if isinstance(c, ReserveStock) for line in c.items}
    wanted |= {line.product_id for held in reservations.values() for line in held.items}
    closed = select_in(connection, CLOSED_ORDERS, "order_id", list(orders | closing))
    return InventoryState(
        products=load_products(connection, list(wanted)),
        reservations=reservations,
        closed_orders=frozenset(row["order_id"] for row in closed),
    )


def load_products(connection: Connection, product_ids: Sequence[str]) -> dict[str, Product]:
    """These products, by id; deleted ones too, those that never were are missing."""
    rows = select_in(connection, PRODUCTS, "product_id", product_ids)
    return {row["product_id"]: Product(**row) for row in rows}


def load_reservations(connection: Connection, order_ids: Sequence[str]) -> dict[str, Reservation]:
    """The reservations of these orders, by order id."""
    return _assemble(connection, select_in(connection, RESERVATIONS, "order_id", order_ids))


def list_products(connection: Connection, after: str | None, most: int) -> list[Product]:
    """The catalogue by product id, from the one behind `after` on."""
    query = select(PRODUCTS).where(PRODUCTS.c.is_deleted.is_(False))
    if after:
        query = query.where(PRODUCTS.c.product_id > after)
    query = query.order_by(PRODUCTS.c.product_id).limit(most)
    return [Product(**row) for row in read_rows(connection, PRODUCTS, query)]


def read_all(connection: Connection) -> InventoryState:
    """The whole state, for the oracle that compares it with the event log."""
    return InventoryState(
        products={row["product_id"]: Product(**row) for row in read_rows(connection, PRODUCTS)},
        reservations=_assemble(connection, read_rows(connection, RESERVATIONS)),
        closed_orders=frozenset(row["order_id"] for row in read_rows(connection, CLOSED_ORDERS)),
    )


def save(connection: Connection, before: InventoryState, after: InventoryState) -> None:
    """Write what has changed."""
    products = changed(before.products, after.products)
    upsert(connection, PRODUCTS, [msgspec.structs.asdict(product) for product in products])
    reservations = changed(before.reservations, after.reservations)
    upsert(connection, RESERVATIONS, [_reservation_row(held) for held in reservations])
    new = [held for held in reservations if held.order_id not in before.reservations]
    insert_all(connection, RESERVATION_ITEMS, [row for held in new for row in _item_rows(held)])
    closed = after.closed_orders - before.closed_orders
    insert_missing(connection, CLOSED_ORDERS, [{"order_id": order_id} for order_id in closed])


def _assemble(connection: Connection, rows: Rows) -> dict[str, Reservation]:
    items: dict[str, list[LineItem]] = defaultdict(list)
    order_ids = [row["order_id"] for row in rows]
    lines = select_in(connection, RESERVATION_ITEMS, "order_id", order_ids)
    for row in sorted(lines, key=itemgetter("order_id", "line")):
        items[row["order_id"]].append(
            LineItem(product_id=row["product_id"], quantity=row["quantity"])
        )
    return {
        row["order_id"]: msgspec.convert({**row, "items": items[row["order_id"]]}, Reservation)
        for row in rows
    }


def _reservation_row(held: Reservation) -> dict[str, Any]:
    row = msgspec.structs.asdict(held)
    del row["items"]
    return row


def _item_rows(held: Reservation) -> Rows:
    return [
        {
            "order_id": held.order_id,
            "line": number,
            "product_id": line.product_id,
            "quantity": line.quantity,
        }
        for number, line in enumerate(held.items)
    ]
