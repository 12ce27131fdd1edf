"""Events of all services: the combined log, an order's events, and the events that follow known positions."""

from collections.abc import Sequence
from datetime import datetime
from heapq import merge
from itertools import groupby, islice
from operator import attrgetter
from typing import Annotated

from msgspec import Meta, Struct
from sqlalchemy import ColumnElement, Select, bindparam, exists, select, true, union_all

from read_api.positions import Positions
from read_api.queries.visibility import IS_VISIBLE, OF_ORDER, RESTRICTED_OF_ORDER, Visibility
from read_api.schemas import EventPage, EventView
from read_api.tables import EVENT_ORDER, EVENTS
from shared.chassis.http.auth import Caller
from shared.chassis.http.pagination import Keyset, page_of, to_cursor
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import view_as_json
from shared.contracts import CATALOG

Position = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class EventFilter(Struct, frozen=True, kw_only=True):
    """Which events."""

    event_type: str | None = None
    source: str | None = None
    key: str | None = None


EVENTS_AS_VIEWS = select(
    view_as_json(EventView, EVENTS, type=EVENTS.c.event_type, key=EVENTS.c.entity_id)
)
_NEWEST_FIRST = Keyset(tuple[datetime, str, Position], *(column.desc() for column in EVENT_ORDER))
_ALL_OF_ORDER = EVENTS_AS_VIEWS.where(OF_ORDER)
_VISIBLE_OF_ORDER = EVENTS_AS_VIEWS.where(RESTRICTED_OF_ORDER, exists().where(IS_VISIBLE))


def _next_of_each_source(condition: ColumnElement[bool]) -> Select[tuple[object, ...]]:
    """The first events of each source behind its position, the parameter `after_<source>`."""
    runs = (
        EVENTS_AS_VIEWS.add_columns(EVENTS.c.source, EVENTS.c.position)
        .where(EVENTS.c.source == source)
        .where(EVENTS.c.position > bindparam(f"after_{source}"), condition)
        .order_by(EVENTS.c.position)
        .limit(bindparam("limit"))
        .subquery()
        for source in sorted(CATALOG.sources)
    )
    every = union_all(*(select(run) for run in runs)).subquery()
    return select(every).order_by(every.c.source, every.c.position)


_NEXT = _next_of_each_source(true())
_NEXT_OF_ORDER = _next_of_each_source(OF_ORDER)
_NEXT_RESTRICTED_OF_ORDER = _next_of_each_source(RESTRICTED_OF_ORDER)


async def list_events(
    reader: Reader, event_filter: EventFilter, cursor: str | None, limit: int
) -> EventPage:
    """The combined log, newest first."""
    query = EVENTS_AS_VIEWS
    if event_filter.event_type is not None:
        query = query.where(EVENTS.c.event_type == event_filter.event_type)
    if event_filter.source is not None:
        query = query.where(EVENTS.c.source == event_filter.source)
    if event_filter.key is not None:
        query = query.where(EVENTS.c.entity_id == event_filter.key)
    return page_of(
        await reader.fetch_views(EventView, _NEWEST_FIRST.select(query, cursor, limit)),
        limit,
        lambda event: event,
        lambda event: to_cursor(event.recorded_at, event.source, event.position),
    )


async def events_of_order(reader: Reader, caller: Caller, order_id: str) -> list[EventView]:
    """The order's events that the caller may see, in no particular order; none of an order that they may not see."""
    if caller.is_operator:
        return await reader.fetch_views(EventView, _ALL_OF_ORDER, order_id=order_id)
    events = await reader.fetch_views(
        EventView, _VISIBLE_OF_ORDER, order_id=order_id, user_id=caller.user_id
    )
    visibility = Visibility(order_id, viewer_id=caller.user_id)
    return [visibility.redacted(event) for event in events]


async def events_after(
    reader: Reader, positions: Positions, visibility: Visibility | None, limit: int
) -> Sequence[EventView]:
    """The next events of each source behind its position: all, or those of an order that are visible.

    Each source's events are in its order, and the sources are merged by time: event ids give no order below the
    millisecond.
    """
    parameters: dict[str, object] = {
        f"after_{source}": positions.get(source, 0) for source in CATALOG.sources
    }
    if visibility is None:
        query = _NEXT
    else:
        query = _NEXT_OF_ORDER if visibility.in_full else _NEXT_RESTRICTED_OF_ORDER
        parameters["order_id"] = visibility.order_id
    events = await reader.fetch_views(EventView, query, limit=limit, **parameters)
    runs = [list(run) for _, run in groupby(events, attrgetter("source"))]
    return list(islice(merge(*runs, key=attrgetter("recorded_at")), limit))
