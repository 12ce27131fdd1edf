"""The dashboard: today, all orders, low stock, the latest orders and the state of each source, at one moment."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from read_api.calendar_days import LocalDay
from read_api.queries import orders, products, reports
from read_api.report_schemas import Dashboard, SourceState
from read_api.schemas import StockView
from read_api.tables import EVENTS, POSITIONS
from shared.chassis.messages.system_events import SYSTEM, EventDeadLettered
from shared.chassis.storage.dead_letters import DEAD_LETTER, IS_OPEN
from shared.chassis.storage.reader import Reader, ResultRows
from shared.chassis.storage.views import to_views
from shared.contracts import CATALOG

MAX_ITEMS = 10
LOW_STOCK = 5
"""This many available, or fewer, are low stock by default."""

_DEAD_LETTER_EVENTS = (
    select(EVENTS.c.source, EVENTS.c.event_type, EVENTS.c.data)
    .where(EVENTS.c.event_type.in_([event_type.__name__ for event_type in SYSTEM]))
    .order_by(EVENTS.c.source, EVENTS.c.position)
)
_OWN_DEAD_LETTERS = select(func.count()).select_from(DEAD_LETTER).where(IS_OPEN)
_SOURCES = select(
    POSITIONS.c.source,
    POSITIONS.c.applied,
    select(EVENTS.c.recorded_at)
    .where(EVENTS.c.source == POSITIONS.c.source)
    .order_by(EVENTS.c.position.desc())
    .limit(1)
    .scalar_subquery()
    .label("recorded_at"),
)


class DashboardQuery(Struct, frozen=True, kw_only=True):
    """What the dashboard is computed from besides the database."""

    today: LocalDay
    timezone: str
    currency: str
    low_stock: int
    lags: Mapping[str, timedelta]
    """How old the newest event of each source was when it was applied."""
    missing: Mapping[str, int]
    """The position, by source, of an event that later ones wait for."""
    diverges_at: Mapping[str, int]
    """The first position, by source, of a held event that is not waited for."""


async def find_dashboard(reader: Reader, query: DashboardQuery) -> Dashboard:
    """The dashboard, read in one snapshot."""
    async with reader.snapshot() as connection:
        return await _dashboard(connection, query)


async def _dashboard(connection: AsyncConnection, query: DashboardQuery) -> Dashboard:
    dead_letters = _unhandled((await connection.execute(_DEAD_LETTER_EVENTS)).all())
    own_dead_letters = (await connection.execute(_OWN_DEAD_LETTERS)).scalar_one()
    [today] = reports.day_figures(
        (await connection.execute(reports.daily([query.today], query.currency))).all()
    )
    latest = await connection.execute(orders.newest_orders([], cursor=None, limit=MAX_ITEMS))
    low_stock = await connection.execute(products.lowest_stock(query.low_stock, MAX_ITEMS))
    sources = await connection.execute(_SOURCES)
    return Dashboard(
        timezone=query.timezone,
        today=today,
        overview=await reports.overview(connection, query.currency),
        low_stock=to_views(low_stock.all(), StockView),
        latest_orders=orders.order_page(latest.all(), MAX_ITEMS).items,
        dead_letters=sum(dead_letters.values()) + own_dead_letters,
        sources=_source_states(sources.all(), query, dead_letters),
    )


def _unhandled(rows: ResultRows) -> Counter[str]:
    """The number of each source's dead letters that were neither redriven nor discarded since."""
    dead_letters: set[tuple[str, str]] = set()
    for row in rows:
        dead_letter = (row.source, row.data["eventId"])
        if row.event_type == EventDeadLettered.__name__:
            dead_letters.add(dead_letter)
        else:
            dead_letters.discard(dead_letter)
    return Counter(source for source, _ in dead_letters)


def _source_states(
    rows: ResultRows, query: DashboardQuery, dead_letters: Mapping[str, int]
) -> list[SourceState]:
    by_source = {row.source: row for row in rows}
    states = []
    for source in sorted(CATALOG.sources):
        row = by_source.get(source)
        state = SourceState(
            source=source,
            position=row.applied if row else 0,
            recorded_at=row.recorded_at if row else None,
            lag_ms=_milliseconds(query.lags.get(source)),
            missing=query.missing.get(source),
            diverges_at=query.diverges_at.get(source),
            dead_letters=dead_letters.get(source, 0),
        )
        states.append(state)
    return states


def _milliseconds(age: timedelta | None) -> float | None:
    return None if age is None else round(age.total_seconds() * 1000, 1)
