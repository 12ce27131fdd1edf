"""The way between the rows and the projections' structs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Table

from read_api.models import (
    Customer,
    Notification,
    Order,
    Product,
    ReadModels,
    Reservation,
    Shipment,
)
from read_api.projections import evolve
from read_api.tables import (
    CUSTOMERS,
    NOTIFICATIONS,
    ORDER_ITEMS,
    ORDERS,
    PRODUCTS,
    RESERVATIONS,
    SHIPMENTS,
)
from shared.chassis.engine.rules import rules
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import Rows, changed, select_in, upsert
from shared.contracts import (
    CustomerRegistered,
    CustomerUpdated,
    LineItem,
    OrderItem,
    ProductCreated,
    ProductDeleted,
    ProductUpdated,
    StockAdded,
    StockAdjusted,
    StockDeducted,
    StockReleased,
    StockReservationFailed,
    StockReserved,
)
from shared.contracts.notifier import NotificationEvent
from shared.contracts.order import OrderEvent
from shared.contracts.shipping import ShippingEvent

ACCOUNTS = (CustomerRegistered, CustomerUpdated)
CATALOGUE = (ProductCreated, ProductUpdated, ProductDeleted, StockAdded, StockAdjusted)
RESERVATION = (StockReserved, StockReservationFailed, StockReleased, StockDeducted)


def project(connection: Connection, heard: Sequence[RecordedEvent]) -> None:
    """Bring the rows up to these events, each source's in order. Raises RuleFailed, as for UnknownEntity."""
    before = load(connection, [recorded.event for recorded in heard])
    with rules():
        after = reduce(evolve, heard, before)
    save(connection, before, after)


def load(connection: Connection, events: Sequence[Event]) -> ReadModels:
    """What these events touch."""
    return ReadModels(
        orders=load_orders(connection, _ids(events, (OrderEvent,), "order_id")),
        customers=_load(
            connection, CUSTOMERS, "user_id", _ids(events, ACCOUNTS, "user_id"), Customer
        ),
        products=load_products(connection, _product_ids(events)),
        reservations=load_reservations(connection, _ids(events, RESERVATION, "order_id")),
        shipments=load_shipments(connection, _ids(events, (ShippingEvent,), "order_id")),
        notifications=_load(
            connection,
            NOTIFICATIONS,
            "notification_id",
            _ids(events, (NotificationEvent,), "notification_id"),
            Notification,
        ),
    )


def load_orders(connection: Connection, order_ids: Sequence[str]) -> dict[str, Order]:
    """These orders with their items, by id."""
    return assemble(connection, select_in(connection, ORDERS, "order_id", order_ids))


def load_products(connection: Connection, product_ids: Sequence[str]) -> dict[str, Product]:
    """These products, by id; deleted ones too."""
    return _load(connection, PRODUCTS, "product_id", product_ids, Product)


def load_reservations(connection: Connection, order_ids: Sequence[str]) -> dict[str, Reservation]:
    """The reservations of these orders, by order id."""
    return _load(connection, RESERVATIONS, "order_id", order_ids, Reservation)


def load_shipments(connection: Connection, order_ids: Sequence[str]) -> dict[str, Shipment]:
    """The shipments of these orders, by order id."""
    return _load(connection, SHIPMENTS, "order_id", order_ids, Shipment)


def load_notifications(connection: Connection, order_id: str) -> list[Notification]:
    """An order's mails, oldest first."""
    rows = select_in(connection, NOTIFICATIONS, "order_id", [order_id])
    rows.sort(key=itemgetter("created_at", "notification_id"))
    return msgspec.convert(rows, list[Notification])


def assemble(connection: Connection, rows: Rows) -> dict[str, Order]:
    """Rows of `orders` with their items, by id, in the rows' order."""
    items: dict[str, list[OrderItem]] = defaultdict(list)
    lines = select_in(connection, ORDER_ITEMS, "order_id", [row["order_id"] for row in rows])
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


def save(connection: Connection, before: ReadModels, after: ReadModels) -> None:
    """Write what has changed."""
    orders = changed(before.orders, after.orders)
    upsert(connection, ORDERS, [_order_row(order) for order in orders])
    new = [order for order in orders if order.order_id not in before.orders]
    upsert(connection, ORDER_ITEMS, [row for order in new for row in _item_rows(order)])
    _save(connection, CUSTOMERS, changed(before.customers, after.customers))
    _save(connection, PRODUCTS, changed(before.products, after.products))
    _save(connection, RESERVATIONS, changed(before.reservations, after.reservations))
    _save(connection, SHIPMENTS, changed(before.shipments, after.shipments))
    _save(connection, NOTIFICATIONS, changed(before.notifications, after.notifications))


def _ids(events: Iterable[Event], kinds: tuple[type[Event], ...], field: str) -> list[str]:
    return list({getattr(event, field) for event in events if isinstance(event, kinds)})


def _product_ids(events: Sequence[Event]) -> list[str]:
    lines: set[LineItem] = set()
    for event in events:
        if isinstance(event, StockReserved | StockReleased | StockDeducted):
            lines.update(event.items)
    named = set(_ids(events, CATALOGUE, "product_id"))
    return list(named | {line.product_id for line in lines})


def _load(
    connection: Connection, table: Table, key: str, values: Sequence[str], entity: type[Any]
) -> dict[str, Any]:
    rows = select_in(connection, table, key, values)
    return {row[key]: msgspec.convert(row, entity) for row in rows}


def _save(connection: Connection, table: Table, entities: Sequence[msgspec.Struct]) -> None:
    upsert(connection, table, [msgspec.structs.asdict(entity) for entity in entities])


def _order_row(order: Order) -> dict[str, Any]:
    row = msgspec.structs.asdict(order)
    row["units"] = sum(item.quantity for item in row.pop("items"))
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
