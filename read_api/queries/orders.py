"""Orders: a page of them, or one with everything that belongs to it."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, select, union_all

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
from read_api.tables import CUSTOMERS, NOTIFICATIONS, ORDER_ITEMS, ORDERS, RESERVATIONS, SHIPMENTS
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
    email: str | None = None
    """Of its mails or of its customer, in any case."""
    product_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_ID = ORDERS.c.order_id
_ITEMS = all_as_json(OrderItem, ORDER_ITEMS, ORDER_ITEMS.c.order_id == _ID, ORDER_ITEMS.c.line)
_ORDERS = select(view_as_json(OrderView, ORDERS, items=_ITEMS))
_IDS = select(_ID)
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
)
_DETAIL_OF_ORDER = _DETAIL.where(bindparam("order_id") == _ID)
_DETAILS_OF_CUSTOMER = _DETAIL.where(
    ORDERS.c.user_id == bindparam("user_id"), ORDERS.c.guest.is_(False)
).order_by(ORDERS.c.created_at.desc(), _ID.desc())
_NEWEST_FIRST = Keyset(tuple[datetime, str], ORDERS.c.created_at.desc(), _ID.desc())

_LINE, _EARLIER_LINE = ORDER_ITEMS.alias("ordered"), ORDER_ITEMS.alias("earlier")
_IS_FIRST_OF_PRODUCT = ~exists().where(
    _EARLIER_LINE.c.order_id == _LINE.c.order_id,
    _EARLIER_LINE.c.line < _LINE.c.line,
    _EARLIER_LINE.c.product_id == _LINE.c.product_id,
)
"""An order may have several lines of one product."""
_OF_PRODUCT = Keyset(tuple[str], _LINE.c.order_id.desc())


async def list_orders(
    reader: Reader, caller: Caller, order_filter: OrderFilter, cursor: str | None, limit: int
) -> OrderPage:
    """Of the orders that the caller may list those that the filter selects, newest first."""
    if _is_of_product_only(caller, order_filter):
        rows = await reader.fetch(_of_product(order_filter, cursor, limit))
        page = _page(rows, limit, lambda order: to_cursor(order.order_id))
    else:
        conditions = [listed_orders(caller), *_conditions(order_filter)]
        if order_filter.email is None:
            query = newest_orders(conditions, cursor, limit)
        else:
            query = _of_email(order_filter.email, conditions, cursor, limit)
        page = order_page(await reader.fetch(query), limit)
    return replace(page, items=[redacted_order(caller, order) for order in page.items])


def newest_orders(
    conditions: Sequence[ColumnElement[bool]], cursor: str | None, limit: int
) -> Select[tuple[object, ...]]:
    """The statement of which `order_page` makes a page."""
    return _NEWEST_FIRST.select(_ORDERS.where(*conditions), cursor, limit)


def order_page(rows: ResultRows, limit: int) -> OrderPage:
    """A page of up to `limit + 1` rows."""
    return _page(rows, limit, lambda order: to_cursor(order.created_at, order.order_id))


def _page(rows: ResultRows, limit: int, cursor: Callable[[OrderView], str]) -> OrderPage:
    return page_of(to_views(rows, OrderView), limit, lambda order: order, cursor)


def _conditions(order_filter: OrderFilter) -> Iterator[ColumnElement[bool]]:
    """All but that of the address."""
    if order_filter.status:
        yield ORDERS.c.status == order_filter.status
    if order_filter.number is not None:
        yield ORDERS.c.order_number == order_filter.number
    if order_filter.user_id is not None:
        yield ORDERS.c.user_id == order_filter.user_id
    if order_filter.product_id is not None:
        yield exists().where(_LINE.c.order_id == _ID, _LINE.c.product_id == order_filter.product_id)
    if order_filter.since:
        yield ORDERS.c.created_at >= bounded(order_filter.since)
    if order_filter.until:
        yield ORDERS.c.created_at < bounded(order_filter.until)


def _is_of_product_only(caller: Caller, order_filter: OrderFilter) -> bool:
    """Whether nothing but the product narrows the search to few orders."""
    others = (order_filter.number, order_filter.user_id, order_filter.email)
    return caller.is_operator and order_filter.product_id is not None and others == (None,) * 3


def _of_product(
    order_filter: OrderFilter, cursor: str | None, limit: int
) -> Select[tuple[object, ...]]:
    """By order id, which starts with the time: an index has the lines of a product in this order."""
    of_product = replace(order_filter, product_id=None)
    query = (
        _ORDERS.join_from(_LINE, ORDERS, _LINE.c.order_id == _ID)
        .where(_LINE.c.product_id == order_filter.product_id, _IS_FIRST_OF_PRODUCT)
        .where(*_conditions(of_product))
    )
    return _OF_PRODUCT.select(query, cursor, limit)


def _of_email(
    email: str, conditions: Sequence[ColumnElement[bool]], cursor: str | None, limit: int
) -> Select[tuple[object, ...]]:
    """Orders whose mails go to the address, and those of its customer. Each part is read in its index's order."""
    key = email.lower()
    customer = select(CUSTOMERS.c.user_id).where(CUSTOMERS.c.email == key).limit(1)
    of_customer = and_(
        ORDERS.c.user_id == customer.scalar_subquery(),
        ORDERS.c.guest.is_(False),
        ORDERS.c.email_key.is_distinct_from(key),
    )
    parts = [
        _NEWEST_FIRST.select(_IDS.where(part, *conditions), cursor, limit).subquery()
        for part in (ORDERS.c.email_key == key, of_customer)
    ]
    ids = union_all(*(select(part.c.order_id) for part in parts))
    return newest_orders([_ID.in_(ids)], None, limit)


async def find_order(
    reader: Reader, caller: Caller, order_id: str, *, has_link: bool = False
) -> OrderDetail:
    """The order with its stock reservation, shipment and mails, for a caller with a link to it too. Raises Rejected."""
    order = await reader.find_view(OrderDetail, _DETAIL_OF_ORDER, order_id=order_id)
    is_open = has_link or (order is not None and order.guest)
    if order is None or not may_see(caller, user_id=order.user_id, is_guest_order=is_open):
        raise unknown_order(order_id)
    return redacted_order(caller, order)


async def orders_of_customer(reader: Reader, user_id: str) -> list[OrderDetail]:
    """All of them, newest first."""
    return await reader.fetch_views(OrderDetail, _DETAILS_OF_CUSTOMER, user_id=user_id)
