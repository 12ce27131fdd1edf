"""Rows → figures, at the moment they are asked for: an order that is undone has never counted.

Overview, customers and products read every order once, a day only its own orders (by index).
"""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Label,
    Row,
    Select,
    Subquery,
    Text,
    and_,
    case,
    column,
    func,
    or_,
    select,
    values,
)

from read_api.calendar_days import LocalDay
from read_api.models import OrderStatus
from read_api.report_schemas import (
    Buyer,
    CustomerFigures,
    CustomerFiguresPage,
    DayFigures,
    Overview,
    ProductFigures,
    ProductFiguresPage,
)
from read_api.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS
from shared.chassis.http.pagination import from_cursor, to_cursor
from shared.chassis.storage.database import UtcTime

Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)]
CANCELLED = (OrderStatus.CANCELLED, OrderStatus.CANCELLED_NO_STOCK, OrderStatus.EXPIRED)

_IS_COMPLETED = ORDERS.c.completed_at.is_not(None)


def overview(connection: Connection, currency: str) -> Overview:
    """Everything since the beginning."""
    by_status = _orders_by_status(connection)
    completed = by_status[OrderStatus.COMPLETED]
    cancelled = sum(by_status[status] for status in CANCELLED)
    failed = by_status[OrderStatus.SHIPMENT_FAILED]
    ended = completed + cancelled + failed
    whole = connection.execute(_bought(currency)).one()
    return Overview(
        orders=whole.orders,
        orders_by_status=by_status,
        guest_orders=connection.execute(_GUEST_ORDERS).scalar_one(),
        currency=currency,
        revenue=whole.revenue,
        average_order_value=_average(whole),
        units_ordered=whole.units_ordered,
        units_sold=whole.units_sold,
        cancellation_rate=_share(cancelled, ended),
        failure_rate=_share(failed, ended),
        customers=connection.execute(_CUSTOMERS).scalar_one(),
    )


def customers(
    connection: Connection, currency: str, cursor: str | None, limit: int
) -> CustomerFiguresPage:
    """What each customer has ordered, guests as one, the most valuable first."""
    each = (
        _bought(currency, ORDERS.c.user_id)
        .where(ORDERS.c.guest.is_(False))
        .group_by(ORDERS.c.user_id)
        .subquery()
    )
    query = select(each, CUSTOMERS.c.email, CUSTOMERS.c.name).outerjoin(
        CUSTOMERS, CUSTOMERS.c.user_id == each.c.user_id
    )
    rows, next_cursor = _best(connection, query, each, cursor, limit)
    guests = connection.execute(_bought(currency).where(ORDERS.c.guest.is_(True))).one()
    return CustomerFiguresPage(
        currency=currency,
        guests=Buyer(**_buyer(guests)),
        items=[
            CustomerFigures(user_id=row.user_id, email=row.email, name=row.name, **_buyer(row))
            for row in rows
        ],
        next_cursor=next_cursor,
    )


def products(
    connection: Connection, currency: str, cursor: str | None, limit: int
) -> ProductFiguresPage:
    """What each product has brought, most first."""
    each = _sold(currency).subquery()
    name = func.coalesce(PRODUCTS.c.name, each.c.name).label("known_as")
    query = select(each, name).outerjoin(PRODUCTS, PRODUCTS.c.product_id == each.c.product_id)
    rows, next_cursor = _best(connection, query, each, cursor, limit)
    found = [
        ProductFigures(
            product_id=row.product_id,
            name=row.known_as,
            units_ordered=row.units_ordered,
            units_sold=row.units_sold,
            revenue=row.revenue,
            cancellations=row.cancellations,
        )
        for row in rows
    ]
    return ProductFiguresPage(currency=currency, items=found, next_cursor=next_cursor)


def daily(connection: Connection, wanted: Sequence[LocalDay], currency: str) -> list[DayFigures]:
    """What came in and what was completed on each of these days."""
    came_in = _by_day(
        connection, wanted, ORDERS.c.created_at, [_count(ORDERS.c.order_id, "orders")]
    )
    done = [_count(ORDERS.c.order_id, "completed"), _revenue(currency)]
    completed = _by_day(connection, wanted, ORDERS.c.completed_at, done)
    return [
        DayFigures(
            day=each.day,
            orders=came_in[each.day.isoformat()].orders,
            completed=completed[each.day.isoformat()].completed,
            revenue=completed[each.day.isoformat()].revenue,
        )
        for each in wanted
    ]


def _orders_by_status(connection: Connection) -> dict[OrderStatus, int]:
    rows = connection.execute(_BY_STATUS).all()
    return dict.fromkeys(OrderStatus, 0) | {OrderStatus(row.status): row.orders for row in rows}


def _bought(currency: str, *by: Column[Any]) -> Select[Any]:
    """Orders, and what they brought."""
    return select(
        *by,
        _count(ORDERS.c.order_id, "orders"),
        _count(ORDERS.c.completed_at, "completed"),
        _count(case((_is_paid(currency), ORDERS.c.order_id)), "paid"),
        _revenue(currency),
        _sum(ORDERS.c.units, "units_ordered"),
        _sum(case((_IS_COMPLETED, ORDERS.c.units)), "units_sold"),
        func.max(ORDERS.c.created_at).label("last_order_at"),
    )


def _sold(currency: str) -> Select[Any]:
    """Lines of orders, and what they brought, for each product."""
    items = ORDER_ITEMS.c
    is_cancelled = ORDERS.c.status.in_(CANCELLED)
    cancelled_order = case((is_cancelled, items.order_id))
    return (
        select(
            items.product_id,
            func.max(items.name).label("name"),
            _sum(items.quantity, "units_ordered"),
            _sum(case((_IS_COMPLETED, items.quantity)), "units_sold"),
            _sum(case((_is_paid(currency), items.quantity * items.price)), "revenue"),
            func.count(cancelled_order.distinct()).label("cancellations"),
        )
        .join_from(ORDER_ITEMS, ORDERS, ORDERS.c.order_id == items.order_id)
        .group_by(items.product_id)
    )


def _by_day(
    connection: Connection,
    wanted: Sequence[LocalDay],
    moment: Column[Any],
    figures: Sequence[Label[Any]],
) -> dict[str, Row[Any]]:
    """The figures of each day's orders, by its name."""
    day, begins, ends = column("day", Text), column("begins", UtcTime), column("ends", UtcTime)
    rows = [(each.day.isoformat(), each.begins, each.ends) for each in wanted]
    stretch = values(day, begins, ends, name="stretch").data(rows).cte("stretch")
    falls_in = and_(moment >= stretch.c.begins, moment < stretch.c.ends)
    query = select(stretch.c.day, *figures).outerjoin_from(stretch, ORDERS, falls_in)
    return {row.day: row for row in connection.execute(query.group_by(stretch.c.day))}


def _best(
    connection: Connection,
    query: Select[Any],
    each: Subquery,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[Row[Any]], str | None]:
    """A page of those with the most revenue; by key, their first column, where that is equal."""
    key = each.c[0]
    if before := from_cursor(cursor, tuple[Amount, str]):
        equal = and_(each.c.revenue == before[0], key > before[1])
        query = query.where(or_(each.c.revenue < before[0], equal))
    query = query.order_by(each.c.revenue.desc(), key).limit(limit + 1)
    rows = connection.execute(query).all()
    page = rows[:limit]
    is_more = len(rows) > limit
    return page, to_cursor(page[-1].revenue, page[-1][0]) if is_more else None


def _buyer(row: Row[Any]) -> dict[str, Any]:
    return {
        "orders": row.orders,
        "completed": row.completed,
        "lifetime_value": row.revenue,
        "average_order_value": _average(row),
        "last_order_at": row.last_order_at,
    }


def _average(row: Row[Any]) -> int | None:
    return round(row.revenue / row.paid) if row.paid else None


def _share(some: int, whole: int) -> float | None:
    return round(some / whole, 4) if whole else None


def _is_paid(currency: str) -> ColumnElement[bool]:
    """Sums of two currencies would mean nothing: what was sold in another one, earlier, is left out."""
    return and_(_IS_COMPLETED, ORDERS.c.currency == currency)


def _revenue(currency: str) -> Label[Any]:
    return _sum(case((_is_paid(currency), ORDERS.c.total_amount)), "revenue")


def _sum(what: ColumnElement[Any], name: str) -> Label[Any]:
    return func.coalesce(func.sum(what), 0).label(name)


def _count(what: ColumnElement[Any], name: str) -> Label[Any]:
    return func.count(what).label(name)


_BY_STATUS = select(ORDERS.c.status, _count(ORDERS.c.order_id, "orders")).group_by(ORDERS.c.status)
_GUEST_ORDERS = select(func.count()).where(ORDERS.c.guest.is_(True))
_CUSTOMERS = select(func.count()).where(CUSTOMERS.c.role == "customer")
