"""What the shop amounts to, over HTTP, for admins."""

from datetime import date
from functools import partial
from typing import Annotated

from litestar import Router, get
from litestar.params import QueryParameter

from read_api import calendar_days, divergence, reports
from read_api.api.dependencies import Parts
from read_api.api.params import RESTRICTED, Cursor, PageSize, TimeZone
from read_api.dashboard import LOW_STOCK, Wanted, dashboard
from read_api.report_schemas import (
    CustomerFiguresPage,
    Daily,
    Dashboard,
    Overview,
    ProductFiguresPage,
)
from shared.chassis.http.auth import admin_only

From = Annotated[
    date | None, QueryParameter(name="from", description="the first day, e.g. 2026-11-01")
]
To = Annotated[
    date | None,
    QueryParameter(name="to", description="the last day; thirty days are shown by default"),
]
LowStock = Annotated[
    int,
    QueryParameter(
        name="lowStock", ge=0, le=1_000_000, description="products with at most this many available"
    ),
]


def router(parts: Parts) -> Router:
    """`/marketing` and `/dashboard`."""
    reads, projector = parts.reads, parts.projector
    currency = parts.settings.currency

    @get("/marketing/overview", responses=RESTRICTED)
    async def show_overview() -> Overview:
        """Everything since the beginning."""
        return await reads.run(partial(reports.overview, currency=currency))

    @get("/marketing/customers", responses=RESTRICTED)
    async def show_customers(cursor: Cursor = None, limit: PageSize = 50) -> CustomerFiguresPage:
        """What each customer has ordered and what it brought, the most valuable first; guests as one."""
        return await reads.run(
            partial(reports.customers, currency=currency, cursor=cursor, limit=limit)
        )

    @get("/marketing/products", responses=RESTRICTED)
    async def show_products(cursor: Cursor = None, limit: PageSize = 50) -> ProductFiguresPage:
        """What was ordered and sold of each product, and what it brought, most first."""
        return await reads.run(
            partial(reports.products, currency=currency, cursor=cursor, limit=limit)
        )

    @get("/marketing/daily", responses=RESTRICTED)
    async def show_daily(
        since: From = None, until: To = None, time_zone: TimeZone = "UTC"
    ) -> Daily:
        """What came in and what was completed, by local day."""
        wanted = calendar_days.days(since, until, calendar_days.time_zone(time_zone))
        found = await reads.run(partial(reports.daily, wanted=wanted, currency=currency))
        return Daily(timezone=time_zone, currency=currency, items=found)

    @get("/dashboard", responses=RESTRICTED)
    async def show_dashboard(
        time_zone: TimeZone = "UTC", low_stock: LowStock = LOW_STOCK
    ) -> Dashboard:
        """The shop at a glance: today, overall, what runs low, what came in last, and how far we have heard."""
        wanted = Wanted(
            today=calendar_days.today(calendar_days.time_zone(time_zone)),
            timezone=time_zone,
            currency=currency,
            low_stock=low_stock,
            lags=projector.lags,
            missing=projector.missing,
            diverges_at=divergence.first_positions(projector.divergences),
        )
        return await reads.run(partial(dashboard, wanted=wanted))

    return Router(
        "/",
        route_handlers=[show_overview, show_customers, show_products, show_daily, show_dashboard],
        guards=[admin_only],
        tags=["marketing"],
    )
