"""Messages that were not handled, kept for an operator in the order of their arrival.

While an entity has a letter that parks it, its later events are kept too, behind it. Other entities are not affected.
A handled letter is deleted; a discarded one stays as a record.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    func,
    select,
)

from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.event import MAX_ERROR_LENGTH
from shared.chassis.messages.received import MalformedMessage, UnsupportedEvent
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, insert_missing
from shared.chassis.storage.sql import any_of, execute_many


class Status(StrEnum):
    """Why the message is kept."""

    PARKED = "PARKED"
    """Its rule raised, which parks its entity: the first letter of it."""
    AWAITING_UPGRADE = "AWAITING_UPGRADE"
    """Only a later release can read it; the first letter of its entity, which it parks. The upgraded service handles it."""
    WAITING = "WAITING"
    """Received while its entity was parked."""
    UNDECODABLE = "UNDECODABLE"
    """It cannot be decoded, so its entity is unknown: no other event waits."""
    DISCARDED = "DISCARDED"
    """An operator decided that it is never handled."""


MAX_POSITION = 2**63 - 1
PARKING = (Status.PARKED, Status.AWAITING_UPGRADE)
"""The status of the first letter of a parked entity."""
WAITING_ERROR = "its entity is parked"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it was received, and why it was not handled."""

    event_id: str
    event_type: str | None
    entity_id: str | None
    source: str | None
    position: int | None
    """In the log of its source; None if it was not decoded."""
    status: Status
    subject: str
    body: bytes
    error: str


class StoredLetter(DeadLetter, frozen=True, kw_only=True):
    """A dead letter in the database; one that is not discarded has none of the last three."""

    dead_letter_id: int
    dead_lettered_at: datetime
    discarded_at: datetime | None
    discarded_by: str | None
    reason: str | None

    @property
    def key(self) -> str:
        """What operators name it by, with the other letters of its entity."""
        return self.entity_id or self.event_id


class Blocked(NamedTuple):
    """What the dead letters of some entities mean for further events of them."""

    parked: dict[tuple[str, str], int]
    """The first position that waits, by source and entity id."""
    discarded: set[str]
    """Ids of events that are not handled."""


DEAD_LETTER = Table(
    "dead_letter",
    CHASSIS_METADATA,
    Column("dead_letter_id", Integer, primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("event_type", Text),
    Column("entity_id", Text),
    Column("source", Text),
    Column("position", Integer),
    Column("status", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("error", Text, nullable=False),
    Column("dead_lettered_at", UtcTime, nullable=False),
    Column("discarded_at", UtcTime),
    Column("discarded_by", Text),
    Column("reason", Text),
)
Index("dead_letter_entity", DEAD_LETTER.c.entity_id)

KEY = func.coalesce(DEAD_LETTER.c.entity_id, DEAD_LETTER.c.event_id)
"""What operators name a letter by: its entity, or its own id if it was not decoded."""
IS_OPEN = DEAD_LETTER.c.status != Status.DISCARDED
_COLUMNS = [DEAD_LETTER.c[name] for name in StoredLetter.__struct_fields__]
LETTERS = select(*_COLUMNS)
_SCHEMA = func.json_extract(cast(DEAD_LETTER.c.body, Text), "$.dataschema")

_BLOCKING = select(
    DEAD_LETTER.c.entity_id,
    DEAD_LETTER.c.source,
    DEAD_LETTER.c.status,
    DEAD_LETTER.c.event_id,
    DEAD_LETTER.c.position,
).where(
    any_of(DEAD_LETTER.c.entity_id, "entity_ids"),
    DEAD_LETTER.c.status.in_((*PARKING, Status.DISCARDED)),
)
_KEPT = select(DEAD_LETTER.c.event_id).where(any_of(DEAD_LETTER.c.event_id, "ids"))
_LETTER = DEAD_LETTER.c.dead_letter_id == bindparam("letter")
_DELETE = DEAD_LETTER.delete().where(_LETTER)
_CHANGE = (
    DEAD_LETTER.update()
    .where(_LETTER)
    .values(status=bindparam("to_status"), error=bindparam("to_error"))
)


def blocked(connection: Connection, entity_ids: Collection[str]) -> Blocked:
    """Which of the entities are parked, and which of their events were discarded."""
    result = Blocked({}, set())
    if not entity_ids:
        return result
    for row in connection.execute(_BLOCKING, {"entity_ids": list(entity_ids)}):
        if row.status == Status.DISCARDED:
            result.discarded.add(row.event_id)
        else:
            place = row.source, row.entity_id
            result.parked[place] = min(row.position or 0, result.parked.get(place, MAX_POSITION))
    return result


def not_kept(
    connection: Connection, messages: Sequence[MalformedMessage]
) -> list[MalformedMessage]:
    """The messages that have no dead letter yet, without repetitions."""
    if not messages:
        return []
    once = {message.event_id: message for message in messages}
    kept_ids = set(connection.execute(_KEPT, {"ids": list(once)}).scalars())
    return [message for event_id, message in once.items() if event_id not in kept_ids]


def body_of(message: RecordedEvent | UnsupportedEvent | MalformedMessage) -> bytes:
    """As it was received; encoded, for an event that did not come from the broker."""
    if isinstance(message, RecordedEvent):
        return message.body or encode(message)
    return message.body


def unhandled(message: RecordedEvent | UnsupportedEvent, status: Status, error: str) -> DeadLetter:
    """For an event of a known source that is not handled now."""
    return DeadLetter(
        event_id=message.event_id,
        event_type=message.event_type,
        entity_id=message.entity_id,
        source=message.source,
        position=message.position,
        status=status,
        subject=message.subject,
        body=body_of(message),
        error=error[:MAX_ERROR_LENGTH],
    )


def undecodable(message: MalformedMessage) -> DeadLetter:
    """For a message that cannot be decoded."""
    return DeadLetter(
        event_id=message.event_id,
        event_type=None,
        entity_id=None,
        source=None,
        position=None,
        status=Status.UNDECODABLE,
        subject=message.subject,
        body=message.body,
        error=message.error[:MAX_ERROR_LENGTH],
    )


def keep(connection: Connection, letters: Sequence[DeadLetter], at: datetime) -> None:
    """Insert the dead letters; one that is kept already stays as it is."""
    unset = {"discarded_at": None, "discarded_by": None, "reason": None}
    rows = [
        {**msgspec.structs.asdict(letter), "dead_lettered_at": at, **unset} for letter in letters
    ]
    insert_missing(connection, DEAD_LETTER, rows)


def find_letters(
    connection: Connection, condition: ColumnElement[bool], most: int | None = None
) -> list[StoredLetter]:
    """The letters that fulfil the condition, in the order of their arrival."""
    query = LETTERS.where(condition).order_by(DEAD_LETTER.c.dead_letter_id)
    return [to_letter(row) for row in connection.execute(query.limit(most))]


def number_unhandled() -> Select[int]:
    """The number of letters that are not discarded, as a query."""
    return select(func.count()).where(DEAD_LETTER.c.status != Status.DISCARDED)


def of_entity(key: str, source: str | None = None) -> ColumnElement[bool]:
    """The condition of the open letters of an entity; with `source`, those of its events alone."""
    has_key = (DEAD_LETTER.c.entity_id == key) | (
        (DEAD_LETTER.c.event_id == key) & DEAD_LETTER.c.entity_id.is_(None)
    )
    if source is None:
        return IS_OPEN & has_key
    return IS_OPEN & has_key & (func.coalesce(DEAD_LETTER.c.source, "") == source)


def queue_of(
    connection: Connection, key: str, source: str | None, most: int | None = None
) -> list[StoredLetter]:
    """The entity's open letters in the order in which they are to be handled.

    Those of one source are in the order of its log: a rebuild keeps some of them and adds others.
    """
    if source is None:
        return find_letters(connection, of_entity(key), most)
    in_order = LETTERS.where(of_entity(key, source)).order_by(
        DEAD_LETTER.c.position, DEAD_LETTER.c.dead_letter_id
    )
    return [to_letter(row) for row in connection.execute(in_order.limit(most))]


def samples_awaiting(connection: Connection) -> dict[str, StoredLetter]:
    """One of the letters that wait for an upgrade, by the schema of their events."""
    is_awaiting = DEAD_LETTER.c.status == Status.AWAITING_UPGRADE
    first = select(func.min(DEAD_LETTER.c.dead_letter_id)).where(is_awaiting).group_by(_SCHEMA)
    query = LETTERS.add_columns(_SCHEMA).where(DEAD_LETTER.c.dead_letter_id.in_(first))
    return {str(row[-1]): to_letter(row[:-1]) for row in connection.execute(query)}


def awaiting(schemas: Collection[str]) -> ColumnElement[bool]:
    """The condition of the letters that wait for an upgrade and whose events have these schemas."""
    return (DEAD_LETTER.c.status == Status.AWAITING_UPGRADE) & _SCHEMA.in_(schemas)


def to_letter(row: Sequence[Any]) -> StoredLetter:
    """The letter in a row of LETTERS."""
    values = dict(zip(StoredLetter.__struct_fields__, row, strict=True))
    return StoredLetter(**values | {"status": Status(values["status"])})


def delete(connection: Connection, letters: Sequence[StoredLetter]) -> None:
    execute_many(connection, _DELETE, [{"letter": letter.dead_letter_id} for letter in letters])


def change(connection: Connection, letter: StoredLetter, status: Status, error: str) -> None:
    """Give a letter another status."""
    values = {"to_status": status, "to_error": error[:MAX_ERROR_LENGTH]}
    connection.execute(_CHANGE, {"letter": letter.dead_letter_id, **values})


def discard(
    connection: Connection, letter: StoredLetter, *, by: str, reason: str, at: datetime
) -> None:
    """Keep the letter as a record of what is never handled."""
    values = {
        "status": Status.DISCARDED,
        "discarded_at": at,
        "discarded_by": by,
        "reason": reason,
    }
    is_letter = DEAD_LETTER.c.dead_letter_id == letter.dead_letter_id
    connection.execute(DEAD_LETTER.update().where(is_letter).values(values))
