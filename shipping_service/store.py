"""The shipping service's tables, and the way between their rows and the domain's structs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
)

from shared.chassis.messages.recorded_event import RecordedEvent
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
from shared.contracts import LineItem
from shipping_service.domain import AwaitedOrder, Command, Shipment, ShippingState

METADATA = MetaData()

SHIPMENTS = Table(
    "shipments",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("shipment_id", Text, unique=True),
    Column("status", Text, nullable=False),
    Column("shipping_address", Json),
    Column("reference", Text),
    Column("tracking_number", Text),
    Column("reason", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

SHIPMENT_ITEMS = Table(
    "shipment_items",
    METADATA,
    Column("order_id", Text, ForeignKey(SHIPMENTS.c.order_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
)

AWAITED_ORDERS = Table(
    "awaited_orders",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("is_created", Boolean, nullable=False),
    Column("shipping_address", Json),
)

AWAITED_ITEMS = Table(
    "awaited_items",
    METADATA,
    Column("order_id", Text, ForeignKey(AWAITED_ORDERS.c.order_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
)


def load(
    connection: Connection, commands: Sequence[Command], heard: Sequence[RecordedEvent]
) -> ShippingState:
    """The shipments of these orders, and what was heard of them."""
    orders = list({command.order_id for command in commands} | {event.key for event in heard})
    return ShippingState(
        shipments=load_shipments(connection, orders),
        awaited=_awaited(connection, select_in(connection, AWAITED_ORDERS, "order_id", orders)),
    )


def load_shipments(connection: Connection, order_ids: Sequence[str]) -> dict[str, Shipment]:
    """The shipments of these orders, by order id."""
    return _shipments(connection, select_in(connection, SHIPMENTS, "order_id", order_ids))


def find_by_shipment(connection: Connection, shipment_id: str) -> Shipment | None:
    """The shipment of this id."""
    rows = select_in(connection, SHIPMENTS, "shipment_id", [shipment_id])
    return next(iter(_shipments(connection, rows).values()), None)


def read_all(connection: Connection) -> ShippingState:
    """The whole state, for the oracle that compares it with the event log."""
    return ShippingState(
        shipments=_shipments(connection, read_rows(connection, SHIPMENTS)),
        awaited=_awaited(connection, read_rows(connection, AWAITED_ORDERS)),
    )


def save(connection: Connection, before: ShippingState, after: ShippingState) -> None:
    """Write what has changed."""
    shipments = changed(before.shipments, after.shipments)
    upsert(connection, SHIPMENTS, [_without_items(shipment) for shipment in shipments])
    begun = [shipment for shipment in shipments if shipment.order_id not in before.shipments]
    insert_all(connection, SHIPMENT_ITEMS, _item_rows(begun))
    awaited = changed(before.awaited, after.awaited)
    upsert(connection, AWAITED_ORDERS, [_without_items(order) for order in awaited])
    upsert(connection, AWAITED_ITEMS, _item_rows(_newly_held(before.awaited, awaited)))


def _newly_held(
    before: Mapping[str, AwaitedOrder], awaited: Iterable[AwaitedOrder]
) -> list[AwaitedOrder]:
    unknown = AwaitedOrder(order_id="")
    return [order for order in awaited if before.get(order.order_id, unknown).items != order.items]


def _shipments(connection: Connection, rows: Rows) -> dict[str, Shipment]:
    items = _items(connection, SHIPMENT_ITEMS, [row["order_id"] for row in rows])
    return {
        row["order_id"]: msgspec.convert({**row, "items": items[row["order_id"]]}, Shipment)
        for row in rows
    }


def _awaited(connection: Connection, rows: Rows) -> dict[str, AwaitedOrder]:
    items = _items(connection, AWAITED_ITEMS, [row["order_id"] for row in rows])
    return {
        row["order_id"]: AwaitedOrder(**row, items=tuple(items[row["order_id"]])) for row in rows
    }


def _items(
    connection: Connection, table: Table, order_ids: Sequence[str]
) -> dict[str, list[LineItem]]:
    items: dict[str, list[LineItem]] = defaultdict(list)
    rows = select_in(connection, table, "order_id", order_ids)
    for row in sorted(rows, key=itemgetter("order_id", "line")):
        items[row["order_id"]].append(
            LineItem(product_id=row["product_id"], quantity=row["quantity"])
        )
    return items


def _without_items(entity: Shipment | AwaitedOrder) -> dict[str, Any]:
    row = msgspec.structs.asdict(entity)
    del row["items"]
    return row


def _item_rows(entities: Iterable[Shipment | AwaitedOrder]) -> Rows:
    return [
        {
            "order_id": entity.order_id,
            "line": number,
            "product_id": line.product_id,
            "quantity": line.quantity,
        }
        for entity in entities
        for number, line in enumerate(entity.items)
    ]
