"""The shop at a glance: what a person in charge looks at first, read at one moment."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import Connection, func, select, true

from read_api import queries, reports
from read_api.calendar_days import LocalDay
from read_api.queries import OrderFilter
from read_api.report_schemas import Dashboard, SourceState
from read_api.schemas import StockView, stock_view
from read_api.tables import EVENTS, POSITIONS, PRODUCTS
from shared.chassis.messages.system_events import EventDeadLettered, EventRedriven
from shared.chassis.storage.database import read_rows
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.contracts import CATALOG

MAX_SHOWN = 10
LOW_STOCK = 5
"""Fewer available than this, or as many, are few."""

_LETTERS = (
    select(EVENTS)
    .where(EVENTS.c.event_type.in_((EventDeadLettered.__name__, EventRedriven.__name__)))
    .order_by(EVENTS.c.source, EVENTS.c.position)
)
_OWN_LETTERS = select(func.count()).select_from(DEAD_LETTER)
_AVAILABLE = PRODUCTS.c.on_hand - PRODUCTS.c.reserved


class Wanted(Struct, frozen=True, kw_only=True):
    """What the dashboard is to say."""

    today: LocalDay
    timezone: str
    currency: str
    low_stock: int
    lags: Mapping[str, timedelta]
    """How old the newest event of each source was when it came."""
    missing: Mapping[str, int]
    """The position, by source, of an event that later ones wait for."""
    diverges_at: Mapping[str, int]
    """The first position, by source, of a held event that is not waited for."""


def dashboard(connection: Connection, wanted: Wanted) -> Dashboard:
    """All of it."""
    letters = _dead_letters(connection)
    own = connection.execute(_OWN_LETTERS).scalar_one()
    [today] = reports.daily(connection, [wanted.today], wanted.currency)
    latest = queries.list_orders(connection, OrderFilter(), true(), cursor=None, limit=MAX_SHOWN)
    return Dashboard(
        timezone=wanted.timezone,
        today=today,
        overview=reports.overview(connection, wanted.currency),
        low_stock=_low_stock(connection, wanted.low_stock),
        latest_orders=latest.items,
        dead_letters=sum(letters.values()) + own,
        sources=_sources(connection, wanted, letters),
    )


def _low_stock(connection: Connection, most: int) -> list[StockView]:
    query = (
        select(PRODUCTS)
        .where(PRODUCTS.c.is_deleted.is_(False), most >= _AVAILABLE)
        .order_by(_AVAILABLE, PRODUCTS.c.product_id)
        .limit(MAX_SHOWN)
    )
    found = queries.products_of(read_rows(connection, PRODUCTS, query))
    return [stock_view(product) for product in found]


def _dead_letters(connection: Connection) -> Counter[str]:
    """How many events each source has given up, and not handled since."""
    given_up: set[tuple[str, str]] = set()
    for row in read_rows(connection, EVENTS, _LETTERS):
        letter = (row["source"], row["data"]["eventId"])
        if row["event_type"] == EventDeadLettered.__name__:
            given_up.add(letter)
        else:
            given_up.discard(letter)
    return Counter(source for source, _ in given_up)


def _sources(
    connection: Connection, wanted: Wanted, letters: Mapping[str, int]
) -> Sequence[SourceState]:
    applied = {row["source"]: row["applied"] for row in read_rows(connection, POSITIONS)}
    return [
        SourceState(
            source=source,
            position=applied.get(source, 0),
            recorded_at=_newest(connection, source),
            lag_ms=_milliseconds(wanted.lags.get(source)),
            missing=wanted.missing.get(source),
            diverges_at=wanted.diverges_at.get(source),
            dead_letters=letters.get(source, 0),
        )
        for source in sorted(CATALOG.sources)
    ]


def _newest(connection: Connection, source: str) -> datetime | None:
    query = (
        select(EVENTS.c.recorded_at)
        .where(EVENTS.c.source == source)
        .order_by(EVENTS.c.position.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def _milliseconds(age: timedelta | None) -> float | None:
    return None if age is None else round(age.total_seconds() * 1000, 1)
