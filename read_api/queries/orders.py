"""Orders: a page of them, or one with everything that belongs to it."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Select, bindparam, select

from read_api.queries.visibility import (
    listed_orders,
    may_see,
    redacted_order,
    unknown_order,
)
from read_api.schemas import (
    NotificationView,
    OrderDetail,
    OrderPage,
    OrderView,
    ReservationView,
    ShipmentView,
)
from read_api.tables import NOTIFICATIONS, ORDER_ITEMS, ORDERS, RESERVATIONS, SHIPMENTS
from shared.chassis.http.auth import Caller
from shared.chassis.http.pagination import Keyset, bounded, page_of, to_cursor
from shared.chassis.storage.reader import Reader, ResultRows
from shared.chassis.storage.views import all_as_json, one_as_json, to_views, view_as_json
from shared.contracts import OrderItem
from shared.contracts.order import OrderStatus


class OrderFilter(Struct, frozen=True, kw_only=True):
    """Which orders; created at `since` or later, and before `until`."""

    status: OrderStatus | None = None
    number: str | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_ID = ORDERS.c.order_id
_ITEMS = all_as_json(OrderItem, ORDER_ITEMS, ORDER_ITEMS.c.order_id == _ID, ORDER_ITEMS.c.line)
_ORDERS = select(view_as_json(OrderView, ORDERS, items=_ITEMS))
_DETAIL = select(
    view_as_json(
        OrderDetail,
        ORDERS,
        items=_ITEMS,
        reservation=one_as_json(ReservationView, RESERVATIONS, RESERVATIONS.c.order_id == _ID),
        shipment=one_as_json(ShipmentView, SHIPMENTS, SHIPMENTS.c.order_id == _ID),
        notifications=all_as_json(
            NotificationView,
            NOTIFICATIONS,
            NOTIFICATIONS.c.order_id == _ID,
            NOTIFICATIONS.c.created_at,
            NOTIFICATIONS.c.notification_id,
        ),
    )
).where(bindparam("order_id") == _ID)
_NEWEST_FIRST = Keyset(tuple[datetime, str], ORDERS.c.created_at.desc(), _ID.desc())


async def list_orders(
    reader: Reader, caller: Caller, order_filter: OrderFilter, cursor: str | None, limit: int
) -> OrderPage:
    """Of the orders that the caller may list those that the filter selects, newest first."""
    query = select_orders(order_filter, listed_orders(caller), cursor, limit)
    page = order_page(await reader.fetch(query), limit)
    return replace(page, items=[redacted_order(caller, order) for order in page.items])


def select_orders(
    order_filter: OrderFilter, visible: ColumnElement[bool], cursor: str | None, limit: int
) -> Select[tuple[object, ...]]:
    """The statement of which `order_page` makes a page."""
    query = _ORDERS.where(visible)
    if order_filter.status:
        query = query.where(ORDERS.c.status == order_filter.status)
    if order_filter.number is not None:
        query = query.where(ORDERS.c.order_number == order_filter.number)
    if order_filter.user_id is not None:
        query = query.where(ORDERS.c.user_id == order_filter.user_id)
    if order_filter.since:
        query = query.where(ORDERS.c.created_at >= bounded(order_filter.since))
    if order_filter.until:
        query = query.where(ORDERS.c.created_at < bounded(order_filter.until))
    return _NEWEST_FIRST.select(query, cursor, limit)


def order_page(rows: ResultRows, limit: int) -> OrderPage:
    """A page of up to `limit + 1` rows."""
    return page_of(
        to_views(rows, OrderView),
        limit,
        lambda order: order,
        lambda order: to_cursor(order.created_at, order.order_id),
    )


async def find_order(reader: Reader, caller: Caller, order_id: str) -> OrderDetail:
    """The order with its stock reservation, shipment and mails. Raises Rejected."""
    order = await reader.find_view(OrderDetail, _DETAIL, order_id=order_id)
    if order is None or not may_see(caller, user_id=order.user_id, is_guest_order=order.guest):
        raise unknown_order(order_id)
    return redacted_order(caller, order)
