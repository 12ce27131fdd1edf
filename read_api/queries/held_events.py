"""Held events: received and not applied, in the order of their arrival."""

from msgspec import Struct
from sqlalchemy import ColumnElement, ScalarSelect, Table, case, func, select

from read_api.schemas import HeldEventPage, HeldEventView, HeldStatus
from read_api.tables import EVENTS, HELD_EVENTS, PASSED_OVER, POSITIONS
from shared.chassis.http.pagination import Keyset, Page, to_cursor
from shared.chassis.storage.checkpoints import MAX_AHEAD
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import to_views, view_as_json


class HeldEventFilter(Struct, frozen=True, kw_only=True):
    """Which held events."""

    source: str | None = None
    position: int | None = None


def _applied_at_position(table: Table) -> ScalarSelect[str]:
    return (
        select(table.c.event_id)
        .where(table.c.source == HELD_EVENTS.c.source, table.c.position == HELD_EVENTS.c.position)
        .scalar_subquery()
    )


def _status() -> ColumnElement[str]:
    last = select(POSITIONS.c.applied).where(POSITIONS.c.source == HELD_EVENTS.c.source)
    applied = func.coalesce(last.scalar_subquery(), 0)
    return case(
        (HELD_EVENTS.c.position <= applied, HeldStatus.DIVERGING),
        (HELD_EVENTS.c.position <= applied + MAX_AHEAD, HeldStatus.WAITING),
        else_=HeldStatus.FAR_AHEAD,
    )


_HELD_EVENTS = select(
    view_as_json(
        HeldEventView,
        HELD_EVENTS,
        applied_event_id=func.coalesce(
            _applied_at_position(EVENTS), _applied_at_position(PASSED_OVER)
        ),
        status=_status(),
    ),
    HELD_EVENTS.c.held_id,
)
_BY_ARRIVAL = Keyset(tuple[int], HELD_EVENTS.c.held_id.asc())


async def list_held_events(
    reader: Reader, held_filter: HeldEventFilter, cursor: str | None, limit: int
) -> HeldEventPage:
    """All of them, or those that claim a position of a source."""
    query = _HELD_EVENTS
    if held_filter.source is not None:
        query = query.where(HELD_EVENTS.c.source == held_filter.source)
    if held_filter.position is not None:
        query = query.where(HELD_EVENTS.c.position == held_filter.position)
    rows = await reader.fetch(_BY_ARRIVAL.select(query, cursor, limit))
    return Page(
        items=to_views(rows[:limit], HeldEventView),
        next_cursor=to_cursor(rows[limit - 1].held_id) if len(rows) > limit else None,
    )
