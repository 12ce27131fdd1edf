"""Reports from a real database: only completed orders count, in any order of delivery."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from read_api.calendar_days import LocalDay, days, time_zone
from read_api.queries import reports
from read_api.queries.dashboard import DashboardQuery, find_dashboard
from read_api.report_schemas import CustomerFigures, Dashboard, DayFigures
from shared.chassis.messages.event import Event
from shared.chassis.messages.system_events import EventDeadLettered, EventDiscarded, EventRedriven
from shared.contracts import (
    CustomerRegistered,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderItem,
    OrderResumed,
    ProductCreated,
    ProductDeleted,
    StockAdded,
)
from shared.contracts.order import OrderStatus
from tests.support.histories import Log, deliveries, in_memory_shops, log_of, logs_of
from tests.support.read_api_process import Projection, projecting

UTC_DAY = days(date(2026, 11, 20), date(2026, 11, 20), time_zone("UTC"))


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Projection]:
    async with projecting(tmp_path / "read.db") as projection:
        yield projection


def created(order_id: str, user_id: str = "u1", *, lamps: int = 1, **more: Any) -> OrderCreated:
    facts = {"currency": "JPY", **more}
    item = OrderItem(product_id="lamp", name="Lamp", quantity=lamps, price=1000)
    return OrderCreated(
        order_id=order_id, user_id=user_id, items=(item,), total_amount=1000 * lamps, **facts
    )


def completed(order_id: str) -> OrderCompleted:
    return OrderCompleted(order_id=order_id, tracking_number="T1")


ORDERS: tuple[Event, ...] = (
    CustomerRegistered(user_id="u1", email="u1@example.com", name="花子"),
    CustomerRegistered(user_id="boss", email="boss@example.com", role="admin"),
    created("o1", lamps=3),
    completed("o1"),
    created("o2"),
    OrderCancelled(order_id="o2", reason="CUSTOMER"),
    created("o3", "u2", lamps=2),
    completed("o3"),
    created("o4", "u2"),
    OrderCancelled(order_id="o4", reason="NO_STOCK"),
    created("o5", "u2"),
    OrderFailed(order_id="o5", reason="CARRIER_DECLINED"),
    created("o6", "u1", guest=True),
    completed("o6"),
    created("o7", "anybody", guest=True),
)


async def overview(shop: Projection) -> Any:
    async with shop.reader.snapshot() as connection:
        return await reports.overview(connection, currency="JPY")


async def customers(shop: Projection, cursor: str | None = None, limit: int = 50) -> Any:
    async with shop.reader.snapshot() as connection:
        return await reports.customers(connection, "JPY", cursor, limit)


async def products(shop: Projection, cursor: str | None = None, limit: int = 50) -> Any:
    return await reports.products(shop.reader, "JPY", cursor, limit)


async def daily(shop: Projection, *local_days: LocalDay) -> list[DayFigures]:
    return reports.day_figures(await shop.reader.fetch(reports.daily(local_days, "JPY")))


async def test_overview_counts_completed_orders(shop: Projection) -> None:
    await shop.projector.deliver(log_of("order", *ORDERS))
    report = await overview(shop)
    assert (report.orders, report.guest_orders, report.customers) == (7, 2, 1)
    assert report.orders_by_status[OrderStatus.COMPLETED] == 3
    assert report.orders_by_status[OrderStatus.EXPIRED] == 0
    assert sum(report.orders_by_status.values()) == 7
    assert (report.revenue, report.average_order_value) == (6000, 2000)
    assert (report.units_ordered, report.units_sold) == (10, 6)
    assert (report.cancellation_rate, report.failure_rate) == (0.3333, 0.1667)


async def test_empty_shop_has_reports(shop: Projection) -> None:
    report = await overview(shop)
    assert (report.orders, report.revenue, report.units_sold) == (0, 0, 0)
    assert (report.average_order_value, report.cancellation_rate) == (None, None)
    page = await customers(shop)
    assert (page.items, page.guests.orders, page.guests.last_order_at) == ([], 0, None)
    assert (await products(shop)).items == []
    [day] = await daily(shop, *UTC_DAY)
    assert (day.orders, day.completed, day.revenue) == (0, 0, 0)


async def test_revenue_counts_completed_orders_only(shop: Projection) -> None:
    steps: tuple[tuple[Event, int], ...] = (
        (created("o1", lamps=2), 0),
        (OrderConfirmed(order_id="o1"), 0),
        (OrderCancellationRequested(order_id="o1", reason="CUSTOMER"), 0),
        (OrderResumed(order_id="o1", reason="too late"), 0),
        (completed("o1"), 2000),
        (created("o2"), 2000),
        (OrderCancelled(order_id="o2", reason="EXPIRED"), 2000),
    )
    log = log_of("order", *(event for event, _ in steps))
    for event, (_, revenue) in zip(log, steps, strict=True):
        await shop.projector.deliver([event])
        assert (await overview(shop)).revenue == revenue


async def test_customer_report_sums_customers_and_guests(
    shop: Projection,
) -> None:
    log = log_of("order", *ORDERS)
    await shop.projector.deliver(log)
    page = await customers(shop)
    assert page.items == [
        CustomerFigures(
            user_id="u1",
            email="u1@example.com",
            name="花子",
            orders=2,
            completed=1,
            lifetime_value=3000,
            average_order_value=3000,
            last_order_at=log[4].recorded_at,
        ),
        CustomerFigures(
            user_id="u2",
            email=None,
            name=None,
            orders=3,
            completed=1,
            lifetime_value=2000,
            average_order_value=2000,
            last_order_at=log[10].recorded_at,
        ),
    ]
    assert (page.guests.orders, page.guests.completed, page.guests.lifetime_value) == (2, 1, 1000)


async def test_product_report_sums_units_and_revenue(shop: Projection) -> None:
    chair = OrderItem(product_id="chair", name="Chair", quantity=1, price=500)
    twice = replace(created("o8"), items=(chair, chair), total_amount=1000)
    cancelled = OrderCancelled(order_id="o8", reason="CUSTOMER")
    await shop.projector.deliver(log_of("order", *ORDERS, twice, cancelled))
    lamp, chairs = (await products(shop)).items
    assert (lamp.product_id, lamp.name, lamp.revenue) == ("lamp", "Lamp", 6000)
    assert (lamp.units_ordered, lamp.units_sold, lamp.cancellations) == (10, 6, 2)
    assert (chairs.units_ordered, chairs.units_sold, chairs.cancellations) == (2, 0, 1)


async def test_report_pages_are_complete(shop: Projection) -> None:
    orders: list[Event] = []
    for number in range(7):
        item = OrderItem(product_id=f"p{number}", quantity=1, price=100)
        order = created(f"o{number}", f"u{number}")
        orders += [replace(order, items=(item,), total_amount=100), completed(f"o{number}")]
    await shop.projector.deliver(log_of("order", *orders))
    for ask, key in ((customers, "user_id"), (products, "product_id")):
        keys, cursor = [], None
        while True:
            page = await ask(shop, cursor, limit=3)
            keys += [getattr(row, key) for row in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert keys == sorted(set(keys))
        assert len(keys) == 7


async def test_other_currencies_are_counted_but_not_summed(
    shop: Projection,
) -> None:
    log = log_of("order", *ORDERS, created("o8", lamps=99, currency="EUR"), completed("o8"))
    await shop.projector.deliver(log)
    report = await overview(shop)
    assert (report.revenue, report.average_order_value) == (6000, 2000)
    assert report.orders_by_status[OrderStatus.COMPLETED] == 4


def moved(log: Log, *moments: datetime) -> Log:
    return [replace(event, recorded_at=at) for event, at in zip(log, moments, strict=True)]


async def test_daily_report_uses_local_days(shop: Projection) -> None:
    midnight = datetime(2026, 11, 19, 15, tzinfo=UTC)  # in Tokyo
    moment = timedelta(microseconds=1)
    log = log_of("order", created("o1"), created("o2"), completed("o1"), completed("o2"))
    await shop.projector.deliver(
        moved(log, midnight - moment, midnight, midnight, midnight + timedelta(hours=24))
    )

    async def figures(place: str) -> list[tuple[int, int, int]]:
        local_days = days(date(2026, 11, 19), date(2026, 11, 21), time_zone(place))
        report = await daily(shop, *local_days)
        assert [day.day.day for day in report] == [19, 20, 21]
        return [(day.orders, day.completed, day.revenue) for day in report]

    assert await figures("Asia/Tokyo") == [(1, 0, 0), (1, 1, 1000), (0, 1, 1000)]
    assert await figures("UTC") == [(2, 1, 1000), (0, 1, 1000), (0, 0, 0)]


async def dashboard_of(shop: Projection, low_stock: int = 5) -> Dashboard:
    query = DashboardQuery(
        today=UTC_DAY[0],
        timezone="UTC",
        currency="JPY",
        low_stock=low_stock,
        lags=shop.projector.lags,
        missing=shop.projector.missing,
        diverges_at={},
    )
    return await find_dashboard(shop.reader, query)


def lost(event_id: str) -> EventDeadLettered:
    return EventDeadLettered(event_id=event_id, event_type="OrderCreated", key="o1", error="no")


async def test_dashboard_shows_what_needs_attention(shop: Projection) -> None:
    def product(product_id: str) -> ProductCreated:
        return ProductCreated(product_id=product_id, name=product_id, description="", price=1)

    stock = log_of(
        "inventory",
        *map(product, ("few", "many", "none", "gone")),
        StockAdded(product_id="few", quantity=5),
        StockAdded(product_id="many", quantity=6),
        ProductDeleted(product_id="gone"),
        lost("e1"),
        lost("e2"),
        lost("e3"),
        EventRedriven(event_id="e1", event_type="OrderCreated", key="o1"),
        EventDiscarded(event_id="e3", event_type="OrderCreated", key="o1", reason="a test"),
    )
    await shop.projector.deliver([*log_of("order", *ORDERS), *stock])
    await shop.projector.deliver(log_of("shipping", lost("e3"), lost("e4"))[1:])
    report = await dashboard_of(shop)
    assert (report.today.orders, report.today.completed, report.today.revenue) == (7, 3, 6000)
    assert report.overview == await overview(shop)
    assert [product.product_id for product in report.low_stock] == ["none", "few"]
    assert [order.order_id for order in report.latest_orders][:2] == ["o7", "o6"]
    assert report.dead_letters == 1
    assert [
        (source.source, source.position, source.missing, source.dead_letters)
        for source in report.sources
    ] == [
        ("inventory", 12, None, 1),
        ("notifier", 0, None, 0),
        ("order", 15, None, 0),
        ("shipping", 0, 1, 0),
    ]
    lags = {source.source: source.lag_ms for source in report.sources}
    assert lags["order"] is not None
    assert lags["notifier"] is None


@settings(max_examples=25)
@given(st.data())
async def test_reports_are_the_same_in_any_delivery(data) -> None:
    async def figures(batches: list[Log]) -> tuple[Any, ...]:
        with TemporaryDirectory() as directory:
            async with projecting(Path(directory) / "read.db") as shop:
                for batch in batches:
                    await shop.projector.deliver(batch)
                return await overview(shop), await customers(shop), await products(shop)

    logs = logs_of(data.draw(in_memory_shops()))
    assert await figures(data.draw(deliveries(logs))) == await figures(list(logs.values()))
