"""The archive: the events of all services, with the positions of their logs."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Text, bindparam, select, type_coerce

from read_api.schemas import EventView
from read_api.tables import EVENTS
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import Rows, insert_missing

_RECORDED_AFTER = (
    # The data as text: it is decoded once, into the event.
    select(
        *(column for column in EVENTS.columns if column.name != "data"),
        type_coerce(EVENTS.c.data, Text).label("json"),
    )
    .where(EVENTS.c.source == bindparam("of"), EVENTS.c.position > bindparam("beyond"))
    .order_by(EVENTS.c.position)
    .limit(bindparam("most"))
)


def hook(
    connection: Connection, consumed: Sequence[RecordedEvent], _own: Sequence[RecordedEvent]
) -> None:
    """Append the consumed events, those of parked entities too."""
    insert_missing(connection, EVENTS, [_row(recorded) for recorded in consumed])


def event_views(rows: Rows) -> list[EventView]:
    """Rows of `events` as the API shows them."""
    return [_view(row) for row in rows]


def recorded_after(
    connection: Connection, positions: Mapping[str, int], most: int, *, catalog: Catalog
) -> list[RecordedEvent]:
    """The next events after these positions, one source after the other."""
    events: list[RecordedEvent] = []
    for source in sorted(catalog.sources):
        bounds = {"of": source, "beyond": positions.get(source, 0), "most": most - len(events)}
        rows = connection.execute(_RECORDED_AFTER, bounds).all()
        events += [_recorded(row, catalog) for row in rows]
    return events


def _recorded(row: Row[*tuple[Any, ...]], catalog: Catalog) -> RecordedEvent:
    return RecordedEvent(
        event_id=row.event_id,
        source=row.source,
        position=row.position,
        event=catalog.decode(row.event_type, row.schema_version, row.json),
        recorded_at=row.recorded_at,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        actor=row.actor,
    )


def _view(row: dict[str, Any]) -> EventView:
    return EventView(
        type=row["event_type"],
        key=row["entity_id"],
        **{name: row[name] for name in EventView.__struct_fields__ if name in row},
    )


def _row(recorded: RecordedEvent) -> dict[str, object]:
    return {
        "source": recorded.source,
        "position": recorded.position,
        "event_id": recorded.event_id,
        "event_type": recorded.event_type,
        "schema_version": recorded.event.SCHEMA_VERSION,
        "entity_id": recorded.entity_id,
        "correlation_id": recorded.correlation_id,
        "causation_id": recorded.causation_id,
        "actor": recorded.actor,
        "recorded_at": recorded.recorded_at,
        "data": recorded.event,
    }
