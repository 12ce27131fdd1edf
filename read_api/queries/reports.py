"""Sums over orders, computed when they are requested, so an order that is undone is never counted.

Overview, customers and products read every order once, a day only its own orders (by index).
"""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import (
    Column,
    ColumnElement,
    Label,
    Row,
    ScalarSelect,
    Select,
    Subquery,
    Text,
    and_,
    case,
    column,
    func,
    select,
    values,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from read_api.calendar_days import LocalDay
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
from shared.chassis.http.pagination import Keyset, page_of, to_cursor
from shared.chassis.storage.database import UtcTime
from shared.chassis.storage.reader import Reader, ResultRows
from shared.chassis.storage.views import to_views, view_as_json
from shared.contracts.order import OrderStatus

Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)]
CANCELLED = (OrderStatus.CANCELLED, OrderStatus.CANCELLED_NO_STOCK, OrderStatus.EXPIRED)

_IS_COMPLETED = ORDERS.c.completed_at.is_not(None)
_CUSTOMERS = select(func.count()).where(CUSTOMERS.c.role == "customer")


async def overview(connection: AsyncConnection, currency: str) -> Overview:
    """All orders since the first one, and the number of customers."""
    rows = (await connection.execute(_by_status(currency))).all()
    orders = dict.fromkeys(OrderStatus, 0) | {OrderStatus(row.status): row.orders for row in rows}
    completed = orders[OrderStatus.COMPLETED]
    cancelled = sum(orders[status] for status in CANCELLED)
    failed = orders[OrderStatus.SHIPMENT_FAILED]
    ended = completed + cancelled + failed
    revenue = sum(row.revenue for row in rows)
    return Overview(
        orders=sum(orders.values()),
        orders_by_status=orders,
        guest_orders=sum(row.guest_orders for row in rows),
        currency=currency,
        revenue=revenue,
        average_order_value=_average(revenue, sum(row.paid for row in rows)),
        units_ordered=sum(row.units_ordered for row in rows),
        units_sold=sum(row.units_sold for row in rows),
        cancellation_rate=_share(cancelled, ended),
        failure_rate=_share(failed, ended),
        customers=(await connection.execute(_CUSTOMERS)).scalar_one(),
    )


async def customers(
    connection: AsyncConnection, currency: str, cursor: str | None, limit: int
) -> CustomerFiguresPage:
    """What each customer has ordered, the most valuable first; guests together."""
    totals = (
        _totals(currency, ORDERS.c.user_id)
        .where(ORDERS.c.guest.is_(False))
        .group_by(ORDERS.c.user_id)
        .subquery()
    )
    query = select(totals, CUSTOMERS.c.email, CUSTOMERS.c.name).outerjoin(
        CUSTOMERS, CUSTOMERS.c.user_id == totals.c.user_id
    )
    rows = (await connection.execute(_by_revenue(totals).select(query, cursor, limit))).all()
    guests = await connection.execute(_totals(currency).where(ORDERS.c.guest.is_(True)))
    return CustomerFiguresPage(
        currency=currency,
        guests=Buyer(**_buyer(guests.one())),
        items=[
            CustomerFigures(user_id=row.user_id, email=row.email, name=row.name, **_buyer(row))
            for row in rows[:limit]
        ],
        next_cursor=to_cursor(rows[limit - 1].revenue, rows[limit - 1].user_id)
        if len(rows) > limit
        else None,
    )


async def products(
    reader: Reader, currency: str, cursor: str | None, limit: int
) -> ProductFiguresPage:
    """What was sold of each product, by revenue."""
    sold = _sold(currency).subquery()
    name = func.coalesce(PRODUCTS.c.name, sold.c.name)
    query = select(view_as_json(ProductFigures, sold, name=name)).outerjoin_from(
        sold, PRODUCTS, PRODUCTS.c.product_id == sold.c.product_id
    )
    rows = await reader.fetch(_by_revenue(sold).select(query, cursor, limit))
    page = page_of(
        to_views(rows, ProductFigures),
        limit,
        lambda product: product,
        lambda product: to_cursor(product.revenue, product.product_id),
    )
    return ProductFiguresPage(currency=currency, items=page.items, next_cursor=page.next_cursor)


def daily(days: Sequence[LocalDay], currency: str) -> Select[tuple[object, ...]]:
    """The statement for the orders created and completed on each day; `day_figures` reads its rows."""
    day, starts, ends = column("day", Text), column("starts", UtcTime), column("ends", UtcTime)
    rows = [(local.day.isoformat(), local.starts, local.ends) for local in days]
    spans = values(day, starts, ends, name="spans").data(rows).cte("spans")

    def of_day(figure: ColumnElement[Any], moment: Column[Any]) -> ScalarSelect[Any]:
        is_in_span = and_(moment >= spans.c.starts, moment < spans.c.ends)
        return select(figure).where(is_in_span).correlate(spans).scalar_subquery()

    number = func.count(ORDERS.c.order_id)
    figures = view_as_json(
        DayFigures,
        spans,
        orders=of_day(number, ORDERS.c.created_at),
        completed=of_day(number, ORDERS.c.completed_at),
        revenue=of_day(_revenue(currency), ORDERS.c.completed_at),
    )
    return select(figures).order_by(spans.c.day)


def day_figures(rows: ResultRows) -> list[DayFigures]:
    """The days of `daily`, the first one first."""
    return to_views(rows, DayFigures)


def _by_status(currency: str) -> Select[Any]:
    guest_orders = _sum(case((ORDERS.c.guest, 1), else_=0), "guest_orders")
    return _totals(currency, ORDERS.c.status).add_columns(guest_orders).group_by(ORDERS.c.status)


def _totals(currency: str, *by: Column[Any]) -> Select[Any]:
    """Numbers of orders and units, and the revenue."""
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
    """Units and revenue of each product."""
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


def _by_revenue(figures: Subquery) -> Keyset[tuple[int, str]]:
    """The highest revenue first, then by id, the first column."""
    return Keyset(tuple[Amount, str], figures.c.revenue.desc(), figures.c[0].asc())


def _buyer(row: Row[Any]) -> dict[str, Any]:
    return {
        "orders": row.orders,
        "completed": row.completed,
        "lifetime_value": row.revenue,
        "average_order_value": _average(row.revenue, row.paid),
        "last_order_at": row.last_order_at,
    }


def _average(revenue: int, paid_orders: int) -> int | None:
    return round(revenue / paid_orders) if paid_orders else None


def _share(part: int, total: int) -> float | None:
    return round(part / total, 4) if total else None


def _is_paid(currency: str) -> ColumnElement[bool]:
    """Completed in this currency: amounts of earlier currencies cannot be added to it."""
    return and_(_IS_COMPLETED, ORDERS.c.currency == currency)


def _revenue(currency: str) -> Label[Any]:
    return _sum(case((_is_paid(currency), ORDERS.c.total_amount)), "revenue")


def _sum(figure: ColumnElement[Any], name: str) -> Label[Any]:
    return func.coalesce(func.sum(figure), 0).label(name)


def _count(figure: ColumnElement[Any], name: str) -> Label[Any]:
    return func.count(figure).label(name)
