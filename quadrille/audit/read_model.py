"""The read API's database in one snapshot."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Table, select

from quadrille.audit.snapshot import (
    DeadLetter,
    open_snapshot,
    raise_if_corrupt,
    read_dead_letters,
)
from read_api.event_archive import event_views
from read_api.models import Customer, Notification, Product, ReadModels, Reservation, Shipment
from read_api.schemas import EventView
from read_api.store import assemble
from read_api.tables import (
    CUSTOMERS,
    EVENTS,
    HELD_EVENTS,
    NOTIFICATIONS,
    ORDERS,
    POSITIONS,
    PRODUCTS,
    RESERVATIONS,
    SHIPMENTS,
)
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import read_rows

READ = "read"


class HeldEvent(NamedTuple):
    """An event that was received and is not applied."""

    source: str
    position: int
    event_id: str


class ReadSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The read API's database at one moment."""

    applied: Mapping[str, int]
    """The last position of each source that the tables contain."""
    held: tuple[HeldEvent, ...]
    dead_letters: tuple[DeadLetter, ...]
    events: Mapping[str, EventView]
    """The archive of all logs, by `source position`."""
    models: ReadModels


def read_snapshot_of_read_api(path: Path) -> ReadSnapshot:
    """Raises CorruptDatabase."""
    with open_snapshot(path) as connection:
        raise_if_corrupt(connection, path)
        return ReadSnapshot(
            applied={row["source"]: row["applied"] for row in read_rows(connection, POSITIONS)},
            held=_held(connection),
            dead_letters=read_dead_letters(connection),
            events={place(event): event for event in event_views(read_rows(connection, EVENTS))},
            models=ReadModels(
                orders=assemble(connection, read_rows(connection, ORDERS)),
                customers=_entities(connection, CUSTOMERS, "user_id", Customer),
                products=_entities(connection, PRODUCTS, "product_id", Product),
                reservations=_entities(connection, RESERVATIONS, "order_id", Reservation),
                shipments=_entities(connection, SHIPMENTS, "order_id", Shipment),
                notifications=_entities(connection, NOTIFICATIONS, "notification_id", Notification),
            ),
        )


def place(event: EventView | RecordedEvent) -> str:
    """The event's unique position in the logs."""
    return f"{event.source} {event.position}"


def _held(connection: Connection) -> tuple[HeldEvent, ...]:
    columns = [HELD_EVENTS.c[name] for name in HeldEvent._fields]
    query = select(*columns).order_by(HELD_EVENTS.c.held_id)
    return tuple(HeldEvent(*row) for row in connection.execute(query))


def _entities(connection: Connection, table: Table, key: str, entity: type[Any]) -> dict[str, Any]:
    return {row[key]: msgspec.convert(row, entity) for row in read_rows(connection, table)}
