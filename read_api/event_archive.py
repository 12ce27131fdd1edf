"""The combined event log: every event of every source, as its emitter numbered it."""

from collections.abc import Mapping, Sequence
from heapq import merge
from itertools import islice

from sqlalchemy import Connection, Select, bindparam, select

from read_api.schemas import EventView
from read_api.tables import EVENTS, POSITIONS
from read_api.visibility import Visibility
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import Rows, insert_missing, read_rows

_BEYOND = (
    select(EVENTS)
    .where(EVENTS.c.source == bindparam("of"))
    .where(EVENTS.c.position > bindparam("beyond"))
    .order_by(EVENTS.c.position)
    .limit(bindparam("most"))
)


def append(connection: Connection, heard: Sequence[RecordedEvent]) -> None:
    """Keep these events."""
    insert_missing(connection, EVENTS, [_row(recorded) for recorded in heard])


def of_order(connection: Connection, story: Visibility) -> list[EventView]:
    """An order's story, in no particular order."""
    return _read(connection, select(EVENTS).where(story.condition()))


def beyond(
    connection: Connection, seen: Mapping[str, int], story: Visibility | None, most: int
) -> list[EventView]:
    """The next events of each source behind the position in `seen`, of one story if it is given.

    The order within each source is kept; sources are merged by time. Event ids say no more than the millisecond.
    """
    sources = connection.execute(select(POSITIONS.c.source)).scalars().all()
    wanted = _BEYOND if story is None else _BEYOND.where(story.condition())
    runs = []
    for source in sources:
        bounds = {"of": source, "beyond": seen.get(source, 0), "most": most}
        runs.append(_read(connection, wanted.params(bounds)))
    return list(islice(merge(*runs, key=lambda event: event.recorded_at), most))


def event_views(rows: Rows) -> list[EventView]:
    """Rows of `events` as they are shown."""
    return [EventView(type=row.pop("event_type"), **row) for row in rows]


def _read(connection: Connection, query: Select[tuple[object, ...]]) -> list[EventView]:
    return event_views(read_rows(connection, EVENTS, query))


def _row(recorded: RecordedEvent) -> dict[str, object]:
    return {
        "source": recorded.source,
        "position": recorded.position,
        "event_id": recorded.event_id,
        "event_type": recorded.event_type,
        "key": recorded.entity_id,
        "correlation_id": recorded.correlation_id,
        "causation_id": recorded.causation_id,
        "recorded_at": recorded.recorded_at,
        "data": recorded.event,
    }
