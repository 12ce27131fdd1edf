"""Requests to handle dead letters after all, with an outcome for each letter.

An item is settled in the transaction that handles its letter, so a process that dies goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects import sqlite

from shared.chassis.messages.clock import new_id
from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, insert_all
from shared.chassis.storage.dead_letters import DEAD_LETTER, IS_OPEN, KEY

RETENTION_DAYS = 30


class ItemOutcome(StrEnum):
    """What became of one letter of a redrive."""

    PENDING = "PENDING"
    HANDLED = "HANDLED"
    DUPLICATE = "DUPLICATE"
    """The same event was handled meanwhile, from another message."""
    FAILED = "FAILED"
    """Its rule raised again, or it still cannot be decoded; it stays as it was."""
    AWAITING_UPGRADE = "AWAITING_UPGRADE"
    """Only a later release can read it."""
    WAITING = "WAITING"
    """An earlier letter of its entity was not handled."""
    DISCARDED = "DISCARDED"
    """An operator discarded it meanwhile."""


REDRIVE = Table(
    "redrive",
    CHASSIS_METADATA,
    Column("redrive_id", Text, primary_key=True),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", UtcTime, nullable=False),
)
Index("redrive_age", REDRIVE.c.requested_at)

REDRIVE_ITEM = Table(
    "redrive_item",
    CHASSIS_METADATA,
    Column("item_id", Integer, primary_key=True),
    Column("redrive_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("event_type", Text),
    Column("key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error", Text),
    Column("requested_at", UtcTime, nullable=False),
    Column("settled_at", UtcTime),
    UniqueConstraint("redrive_id", "event_id"),
)
Index("redrive_item_age", REDRIVE_ITEM.c.requested_at)
Index("redrive_item_event", REDRIVE_ITEM.c.event_id)
# A literal: SQLite uses a partial index only if the statement itself proves its condition.
_IS_PENDING = REDRIVE_ITEM.c.outcome == literal_column("'PENDING'")
for _name, _column in {
    "redrive_item_pending": REDRIVE_ITEM.c.item_id,
    "redrive_item_pending_key": REDRIVE_ITEM.c.key,
}.items():
    Index(_name, _column, sqlite_where=_IS_PENDING, postgresql_where=_IS_PENDING)

_SETTLE = (
    REDRIVE_ITEM.update()
    .where(_IS_PENDING, REDRIVE_ITEM.c.event_id == bindparam("settled_event"))
    .values(
        outcome=bindparam("to_outcome"), error=bindparam("to_error"), settled_at=bindparam("at")
    )
)
_FIRST_PENDING = (
    select(REDRIVE_ITEM.c.redrive_id, REDRIVE_ITEM.c.key, REDRIVE_ITEM.c.source)
    .where(_IS_PENDING)
    .order_by(REDRIVE_ITEM.c.item_id)
    .limit(1)
)
_ITEM_NAMES = ("event_id", "event_type", "key", "source", "outcome", "error")


class RedriveItem(NamedTuple):
    """One letter of a redrive; the fields are columns."""

    event_id: str
    event_type: str | None
    key: str
    source: str
    outcome: ItemOutcome
    error: str | None


class Redrive(NamedTuple):
    """A request, and how far it is."""

    redrive_id: str
    requested_by: str
    requested_at: datetime
    items: Sequence[RedriveItem]

    @property
    def is_finished(self) -> bool:
        return all(item.outcome != ItemOutcome.PENDING for item in self.items)


class Place(NamedTuple):
    """Whose letters are handled in one transaction: an entity's, or those of its events from one source."""

    key: str
    source: str | None


def request(
    connection: Connection, condition: ColumnElement[bool], *, by: str, at: datetime
) -> str:
    """Ask for all open letters of the entities that have one that fulfils the condition; returns the redrive's id."""
    redrive_id = new_id()
    redrive = {"redrive_id": redrive_id, "requested_by": by, "requested_at": at}
    insert_all(connection, REDRIVE, [redrive])
    add_items(connection, redrive_id, KEY.in_(select(KEY).where(IS_OPEN, condition)), at)
    return redrive_id


def add_items(
    connection: Connection, redrive_id: str, condition: ColumnElement[bool], at: datetime
) -> None:
    """Add the open letters that fulfil the condition, unless they belong to the redrive already."""
    letters = (
        select(
            literal(redrive_id),
            DEAD_LETTER.c.event_id,
            DEAD_LETTER.c.event_type,
            KEY,
            func.coalesce(DEAD_LETTER.c.source, ""),
            literal(ItemOutcome.PENDING.value),
            literal(at, UtcTime()),
        )
        .where(IS_OPEN, condition)
        .order_by(DEAD_LETTER.c.dead_letter_id)
    )
    names = ["redrive_id", "event_id", "event_type", "key", "source", "outcome", "requested_at"]
    connection.execute(
        sqlite.insert(REDRIVE_ITEM).from_select(names, letters).on_conflict_do_nothing()
    )


def find(connection: Connection, redrive_id: str) -> Redrive | None:
    request_row = connection.execute(
        select(REDRIVE).where(REDRIVE.c.redrive_id == redrive_id)
    ).first()
    if request_row is None:
        return None
    items = connection.execute(
        select(*(REDRIVE_ITEM.c[name] for name in _ITEM_NAMES))
        .where(REDRIVE_ITEM.c.redrive_id == redrive_id)
        .order_by(REDRIVE_ITEM.c.item_id)
    )
    return Redrive(
        redrive_id=request_row.redrive_id,
        requested_by=request_row.requested_by,
        requested_at=request_row.requested_at,
        items=[RedriveItem(*row) for row in items],
    )


def is_finished(connection: Connection, redrive_id: str) -> bool:
    """Whether all its items are settled; also if there is no such redrive."""
    pending = select(REDRIVE_ITEM.c.item_id).where(
        _IS_PENDING, REDRIVE_ITEM.c.redrive_id == redrive_id
    )
    return connection.execute(pending.limit(1)).first() is None


def count_pending(connection: Connection, most: int) -> int:
    """How many items are not settled, up to this number."""
    pending = select(REDRIVE_ITEM.c.item_id).where(_IS_PENDING).limit(most)
    return len(connection.execute(pending).all())


def next_place(connection: Connection) -> tuple[str, Place] | None:
    """The redrive of the oldest item that is not settled, and whose letters to handle for it."""
    row = connection.execute(_FIRST_PENDING).first()
    return None if row is None else (row.redrive_id, Place(row.key, row.source))


def settle(
    connection: Connection, outcomes: Mapping[str, tuple[ItemOutcome, str | None]], at: datetime
) -> None:
    """Note what became of these letters, by event id, in every redrive that waits for it."""
    rows = [
        {"settled_event": event_id, "to_outcome": outcome.value, "to_error": error, "at": at}
        for event_id, (outcome, error) in outcomes.items()
    ]
    if rows:
        connection.execute(_SETTLE, rows)


def settle_rest(
    connection: Connection,
    place: Place,
    result: tuple[ItemOutcome, str | None],
    at: datetime,
) -> None:
    """Note it for what is still pending of the place's letters."""
    outcome, error = result
    update = REDRIVE_ITEM.update().where(_IS_PENDING, REDRIVE_ITEM.c.key == place.key)
    if place.source is not None:
        update = update.where(REDRIVE_ITEM.c.source == place.source)
    connection.execute(update.values(outcome=outcome.value, error=error, settled_at=at))
