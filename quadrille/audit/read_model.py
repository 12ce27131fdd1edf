"""The read API's database in one snapshot."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import asdict
from sqlalchemy import Connection, select

from quadrille.audit.snapshot import (
    DeadLetterRow,
    open_snapshot,
    raise_if_unusable,
    read_dead_letters,
)
from read_api.event_archive import event_views
from read_api.schemas import EventView
from read_api.store import PROJECTIONS
from read_api.tables import EVENTS, HELD_EVENTS, POSITIONS
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import read_rows

READ = "read"


class HeldEvent(NamedTuple):
    """An event that was received and is not applied."""

    source: str
    position: int
    event_id: str
    recorded_at: datetime | None
    """According to the event; None if it cannot be read."""


class _Envelope(msgspec.Struct):
    time: datetime


class ReadSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The read API's database at one moment."""

    applied: Mapping[str, int]
    """The last position of each source that the tables contain."""
    held: tuple[HeldEvent, ...]
    dead_letters: tuple[DeadLetterRow, ...]
    events: Mapping[str, EventView]
    """The archive of all logs, by `source position`."""
    models: Mapping[str, Mapping[str, msgspec.Struct]]
    """The entities of all projections, by the field of their state and by id."""


def read_snapshot_of_read_api(path: Path) -> ReadSnapshot:
    """Raises CorruptDatabase."""
    with open_snapshot(path) as connection:
        raise_if_unusable(connection, path, READ)
        return ReadSnapshot(
            applied={row["source"]: row["applied"] for row in read_rows(connection, POSITIONS)},
            held=_held(connection),
            dead_letters=read_dead_letters(connection),
            events={place(event): event for event in event_views(read_rows(connection, EVENTS))},
            models={
                field: entities
                for projection in PROJECTIONS
                for field, entities in asdict(projection.store.read_all(connection)).items()
            },
        )


def place(event: EventView | RecordedEvent) -> str:
    """The event's unique position in the logs."""
    return f"{event.source} {event.position}"


def _held(connection: Connection) -> tuple[HeldEvent, ...]:
    columns = [HELD_EVENTS.c[name] for name in ("source", "position", "event_id", "body")]
    query = select(*columns).order_by(HELD_EVENTS.c.held_id)
    return tuple(
        HeldEvent(source, position, event_id, _time_in(body))
        for source, position, event_id, body in connection.execute(query)
    )


def _time_in(body: str) -> datetime | None:
    try:
        return msgspec.json.decode(body, type=_Envelope).time
    except msgspec.MsgspecError:
        return None
