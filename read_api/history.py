"""The combined event log: every event of every source, as its emitter numbered it."""

from collections.abc import Mapping, Sequence
from heapq import merge
from itertools import islice

from sqlalchemy import Connection, Select, bindparam, select

from read_api.documents import EventView
from read_api.tables import EVENTS, POSITIONS
from shared.contracts.recorded import Recorded
from shared.database import Rows, insert_missing, read_rows

_OF_ORDER = select(EVENTS).where(EVENTS.c.correlation_id == bindparam("story"))
_BEYOND = (
    select(EVENTS)
    .where(EVENTS.c.source == bindparam("of"))
    .where(EVENTS.c.position > bindparam("beyond"))
    .order_by(EVENTS.c.position)
    .limit(bindparam("most"))
)
_BEYOND_OF_ORDER = _BEYOND.where(EVENTS.c.correlation_id == bindparam("story"))


def append(connection: Connection, heard: Sequence[Recorded]) -> None:
    """Keep these events."""
    insert_missing(connection, EVENTS, [_row(recorded) for recorded in heard])


def of_order(connection: Connection, order_id: str) -> list[EventView]:
    """The order's whole story, in no particular order."""
    return _read(connection, _OF_ORDER.params(story=order_id))


def beyond(
    connection: Connection, seen: Mapping[str, int], order_id: str | None, most: int
) -> list[EventView]:
    """The next events of each source behind the position in `seen`, of one order's story if it is given.

    The order within each source is kept; sources are merged by time.
    """
    sources = connection.execute(select(POSITIONS.c.source)).scalars().all()
    runs = []
    for source in sources:
        query = _BEYOND if order_id is None else _BEYOND_OF_ORDER.params(story=order_id)
        bounds = {"of": source, "beyond": seen.get(source, 0), "most": most}
        runs.append(_read(connection, query.params(bounds)))
    return list(islice(merge(*runs, key=lambda event: event.event_id), most))


def event_views(rows: Rows) -> list[EventView]:
    """Rows of `events` as they are shown."""
    return [EventView(type=row.pop("event_type"), **row) for row in rows]


def _read(connection: Connection, query: Select[tuple[object, ...]]) -> list[EventView]:
    return event_views(read_rows(connection, EVENTS, query))


def _row(recorded: Recorded) -> dict[str, object]:
    return {
        "source": recorded.source,
        "position": recorded.position,
        "event_id": recorded.event_id,
        "event_type": recorded.event_type,
        "key": recorded.key,
        "correlation_id": recorded.correlation_id,
        "causation_id": recorded.causation_id,
        "recorded_at": recorded.recorded_at,
        "data": recorded.event,
    }
