"""Rows → documents."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Table, or_, select, tuple_

from read_api import event_archive, store
from read_api.models import Customer, OrderStatus, Product, Shipment, ShipmentStatus
from read_api.schemas import (
    CustomerPage,
    CustomerView,
    EventPage,
    NotificationView,
    OrderDetail,
    OrderPage,
    ProductPage,
    ProductView,
    ReservationView,
    ShipmentPage,
    ShipmentView,
    StockPage,
    Timeline,
    order_page,
    product_view,
    shown,
    stock_view,
)
from read_api.search import bounded_time, distinct_words, matches
from read_api.tables import CUSTOMERS, EVENT_ORDER, EVENTS, ORDERS, PRODUCTS, SHIPMENTS
from read_api.timeline import timeline
from read_api.visibility import Visibility, unknown_order
from shared.chassis.http.pagination import bounded, from_cursor, older, to_cursor
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.database import Rows, read_rows


class EventCursor(NamedTuple):
    """The last event shown."""

    recorded_at: datetime
    source: str
    position: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class OrderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders; created at `since` or later, and before `until`."""

    status: OrderStatus | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events."""

    event_type: str | None = None
    source: str | None = None
    key: str | None = None


class ProductFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which products: with every word of `words` somewhere in what they are called and described as."""

    words: str = ""
    category: str | None = None


def list_orders(
    connection: Connection,
    wanted: OrderFilter,
    visible: ColumnElement[bool],
    cursor: str | None,
    limit: int,
) -> OrderPage:
    """Orders, newest first, of those that are `visible`."""
    query = select(ORDERS).where(
        visible, *_equal(ORDERS, status=wanted.status, user_id=wanted.user_id)
    )
    if wanted.since:
        query = query.where(ORDERS.c.created_at >= bounded(wanted.since))
    if wanted.until:
        query = query.where(ORDERS.c.created_at < bounded(wanted.until))
    rows, next_cursor = _newest(connection, query, ORDERS, "order_id", cursor, limit)
    return order_page(list(store.assemble(connection, rows).values()), next_cursor)


def show_order(connection: Connection, story: Visibility) -> OrderDetail:
    """One order with all that belongs to it; raises Rejected."""
    order_id = story.order_id
    order = store.load_orders(connection, [order_id]).get(order_id)
    if order is None:
        raise unknown_order(order_id)
    reservation = store.load_reservations(connection, [order_id]).get(order_id)
    shipment = store.load_shipments(connection, [order_id]).get(order_id)
    mails = store.load_notifications(connection, order_id)
    return shown(
        order,
        OrderDetail,
        reservation=shown(reservation, ReservationView) if reservation else None,
        shipment=shown(shipment, ShipmentView) if shipment else None,
        notifications=[shown(mail, NotificationView) for mail in mails],
    )


def show_timeline(connection: Connection, story: Visibility) -> Timeline:
    """What has happened to an order, and why; raises Rejected."""
    events = event_archive.of_order(connection, story)
    if not events:
        raise unknown_order(story.order_id)
    return timeline(story.order_id, events)


def list_customers(
    connection: Connection, words: str, cursor: str | None, limit: int
) -> CustomerPage:
    """Who has signed up, newest first, with every word somewhere in id, address or name."""
    query = select(CUSTOMERS).where(*(_is_called(word) for word in distinct_words(words)))
    with bounded_time(connection):
        rows, next_cursor = _newest(connection, query, CUSTOMERS, "user_id", cursor, limit)
    found = msgspec.convert(rows, list[Customer])
    return CustomerPage(
        items=[shown(customer, CustomerView) for customer in found], next_cursor=next_cursor
    )


def list_products(
    connection: Connection, wanted: ProductFilter, cursor: str | None, limit: int
) -> ProductPage:
    """The catalogue by product id. Raises BadRequest for a search that is too expensive."""
    query = (
        select(PRODUCTS)
        .where(PRODUCTS.c.is_deleted.is_(False), *_equal(PRODUCTS, category=wanted.category))
        .where(*matches(wanted.words, connection.dialect.name))
    )
    with bounded_time(connection):
        found, next_cursor = _products(connection, query, cursor, limit)
    return ProductPage(items=[product_view(product) for product in found], next_cursor=next_cursor)


def show_product(connection: Connection, product_id: str) -> ProductView:
    """One product; raises Rejected for one that is not, or not any more."""
    product = store.load_products(connection, [product_id]).get(product_id)
    if product is None or product.is_deleted:
        raise Rejected("unknown-product", f"there is no product {product_id}")
    return product_view(product)


def list_stock(connection: Connection, cursor: str | None, limit: int) -> StockPage:
    """The stock of every product, deleted ones included, by product id."""
    found, next_cursor = _products(connection, select(PRODUCTS), cursor, limit)
    return StockPage(items=[stock_view(product) for product in found], next_cursor=next_cursor)


def list_shipments(
    connection: Connection, status: ShipmentStatus | None, cursor: str | None, limit: int
) -> ShipmentPage:
    """Shipments, newest first."""
    query = select(SHIPMENTS).where(*_equal(SHIPMENTS, status=status))
    rows, next_cursor = _newest(connection, query, SHIPMENTS, "order_id", cursor, limit)
    found = msgspec.convert(rows, list[Shipment])
    return ShipmentPage(
        items=[shown(shipment, ShipmentView) for shipment in found], next_cursor=next_cursor
    )


def list_events(
    connection: Connection, wanted: EventFilter, cursor: str | None, limit: int
) -> EventPage:
    """The combined log, newest first."""
    filters = _equal(EVENTS, event_type=wanted.event_type, source=wanted.source, key=wanted.key)
    query = select(EVENTS).where(*filters)
    if before := from_cursor(cursor, EventCursor):
        query = query.where(tuple_(*EVENT_ORDER) < (bounded(before.recorded_at), *before[1:]))
    query = query.order_by(*(column.desc() for column in EVENT_ORDER)).limit(limit + 1)
    rows, is_more = _cut(read_rows(connection, EVENTS, query), limit)
    last = [rows[-1][column.name] for column in EVENT_ORDER] if is_more else None
    next_cursor = to_cursor(*last) if last else None
    return EventPage(items=event_archive.event_views(rows), next_cursor=next_cursor)


def products_of(rows: Rows) -> list[Product]:
    """Rows of `products` as what they are."""
    return msgspec.convert(rows, list[Product])


def _equal(table: Table, **values: str | None) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in values.items() if value is not None]


def _is_called(word: str) -> ColumnElement[bool]:
    names = (CUSTOMERS.c.user_id, CUSTOMERS.c.email, CUSTOMERS.c.name)
    return or_(*(name.icontains(word, autoescape=True) for name in names))


def _newest(  # noqa: PLR0917 - the query, what it is about, and which page of it
    connection: Connection,
    query: Select[Any],
    table: Table,
    key_name: str,
    cursor: str | None,
    limit: int,
) -> tuple[Rows, str | None]:
    """A page of rows by time of creation."""
    at, key = table.c.created_at, table.c[key_name]
    if before := from_cursor(cursor, tuple[datetime, str]):
        query = query.where(older(at, key, before))
    query = query.order_by(at.desc(), key.desc()).limit(limit + 1)
    rows, is_more = _cut(read_rows(connection, table, query), limit)
    return rows, to_cursor(rows[-1]["created_at"], rows[-1][key_name]) if is_more else None


def _products(
    connection: Connection, query: Select[Any], cursor: str | None, limit: int
) -> tuple[Sequence[Product], str | None]:
    if after := from_cursor(cursor, tuple[str]):
        query = query.where(PRODUCTS.c.product_id > after[0])
    query = query.order_by(PRODUCTS.c.product_id).limit(limit + 1)
    rows, is_more = _cut(read_rows(connection, PRODUCTS, query), limit)
    next_cursor = to_cursor(rows[-1]["product_id"]) if is_more else None
    return products_of(rows), next_cursor


def _cut(rows: Rows, limit: int) -> tuple[Rows, bool]:
    return rows[:limit], len(rows) > limit
