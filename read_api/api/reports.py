"""Reports over HTTP, for admins, and the dashboard, for operators."""

from datetime import date
from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from read_api import calendar_days
from read_api.api.dependencies import ReadApi
from read_api.api.params import RESTRICTED, Cursor, PageSize, TimeZone
from read_api.queries import reports
from read_api.queries.dashboard import LOW_STOCK, DashboardQuery, find_dashboard
from read_api.report_schemas import (
    CustomerFiguresPage,
    Daily,
    Dashboard,
    Overview,
    ProductFiguresPage,
)
from shared.chassis.http.auth import admin_only, operators_only

From = Annotated[
    date | None, QueryParameter(name="from", description="the first day, e.g. 2026-11-01")
]
To = Annotated[
    date | None,
    QueryParameter(name="to", description="the last day; by default there are thirty days"),
]
LowStock = Annotated[
    int,
    QueryParameter(
        name="lowStock", ge=0, le=1_000_000, description="products with at most this many available"
    ),
]


class ReportController(Controller):
    """`/marketing`."""

    guards = (admin_only,)
    tags = ("marketing",)

    @get("/marketing/overview", responses=RESTRICTED)
    async def show_overview(self, read_api: NamedDependency[ReadApi]) -> Overview:
        """All orders since the first one."""
        async with read_api.reader.snapshot() as connection:
            return await reports.overview(connection, read_api.settings.currency)

    @get("/marketing/customers", responses=RESTRICTED)
    async def show_customers(
        self, read_api: NamedDependency[ReadApi], cursor: Cursor = None, limit: PageSize = 50
    ) -> CustomerFiguresPage:
        """The orders and the revenue of each customer, the most valuable first; guests together."""
        async with read_api.reader.snapshot() as connection:
            return await reports.customers(connection, read_api.settings.currency, cursor, limit)

    @get("/marketing/products", responses=RESTRICTED)
    async def show_products(
        self, read_api: NamedDependency[ReadApi], cursor: Cursor = None, limit: PageSize = 50
    ) -> ProductFiguresPage:
        """Units ordered, units sold and revenue of each product, the highest revenue first."""
        return await reports.products(read_api.reader, read_api.settings.currency, cursor, limit)

    @get("/marketing/daily", responses=RESTRICTED)
    async def show_daily(
        self,
        read_api: NamedDependency[ReadApi],
        since: From = None,
        until: To = None,
        time_zone: TimeZone = "UTC",
    ) -> Daily:
        """Orders created and completed, by local day."""
        days = calendar_days.days(since, until, calendar_days.time_zone(time_zone))
        currency = read_api.settings.currency
        rows = await read_api.reader.fetch(reports.daily(days, currency))
        return Daily(timezone=time_zone, currency=currency, items=reports.day_figures(rows))


class DashboardController(Controller):
    """`/dashboard`."""

    guards = (operators_only,)
    tags = ("marketing",)

    @get("/dashboard", responses=RESTRICTED)
    async def show_dashboard(
        self,
        read_api: NamedDependency[ReadApi],
        time_zone: TimeZone = "UTC",
        low_stock: LowStock = LOW_STOCK,
    ) -> Dashboard:
        """Today, all orders, low stock, the latest orders, and how far each service's events are applied."""
        projector = read_api.projector
        query = DashboardQuery(
            today=calendar_days.today(calendar_days.time_zone(time_zone)),
            timezone=time_zone,
            currency=read_api.settings.currency,
            low_stock=low_stock,
            lags=projector.lags,
            missing=projector.missing,
            diverges_at=projector.first_divergences,
        )
        return await find_dashboard(read_api.reader, query)
