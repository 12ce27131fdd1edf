"""The archive: the events of all services, with the positions of their logs."""

from collections.abc import Sequence

from sqlalchemy import Connection

from read_api.schemas import EventView
from read_api.tables import EVENTS
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import Rows, insert_missing


def hook(
    connection: Connection, consumed: Sequence[RecordedEvent], _own: Sequence[RecordedEvent]
) -> None:
    """Append the consumed events, parked ones too."""
    insert_missing(connection, EVENTS, [_row(recorded) for recorded in consumed])


def event_views(rows: Rows) -> list[EventView]:
    """Rows of `events` as the API shows them."""
    return [EventView(type=row.pop("event_type"), **row) for row in rows]


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
