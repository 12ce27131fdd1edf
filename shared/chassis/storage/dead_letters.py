"""Messages that could not be handled, kept for an operator: the redrive command does not exist yet.

While an entity has a row here, its later events are kept too, in their order. Other entities are not affected.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import Column, Connection, Index, Integer, Table, Text, select

from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.event import MAX_ERROR_LENGTH
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, insert_missing
from shared.chassis.storage.sql import any_of


class Status(StrEnum):
    """Why the message is kept."""

    PARKED = "PARKED"
    """Its rule raised, which parked its entity: the first kept event of it."""
    WAITING = "WAITING"
    """Received while its entity was parked."""
    UNDECODABLE = "UNDECODABLE"
    """It cannot be decoded, so its entity is unknown: no other event waits."""


class MalformedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is not an event of the catalog."""

    subject: str
    body: bytes
    error: str

    @property
    def event_id(self) -> str:
        """Made of the content, so that a message that is delivered twice is kept once."""
        return f"sha256-{hashlib.sha256(self.subject.encode() + self.body).hexdigest()[:32]}"


Message = RecordedEvent | MalformedMessage
"""A message that was received, decoded if it can be."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it was received, and why it was not handled."""

    event_id: str
    event_type: str | None
    entity_id: str | None
    status: Status
    subject: str
    body: str
    error: str


DEAD_LETTER = Table(
    "dead_letter",
    CHASSIS_METADATA,
    Column("dead_letter_id", Integer, primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("event_type", Text),
    Column("entity_id", Text),
    Column("status", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("dead_lettered_at", UtcTime, nullable=False),
)
Index("dead_letter_entity", DEAD_LETTER.c.entity_id)

_PARKED = select(DEAD_LETTER.c.entity_id, DEAD_LETTER.c.subject).where(
    any_of(DEAD_LETTER.c.entity_id, "entity_ids")
)
_KEPT = select(DEAD_LETTER.c.event_id).where(any_of(DEAD_LETTER.c.event_id, "ids"))


def parked(connection: Connection, entity_ids: Collection[str]) -> set[tuple[str, str]]:
    """Those of the entities that are parked, each with the source of the events that parked it."""
    if not entity_ids:
        return set()
    rows = connection.execute(_PARKED, {"entity_ids": list(entity_ids)})
    return {(subject.split(".")[1], entity_id) for entity_id, subject in rows}


def not_kept(
    connection: Connection, messages: Sequence[MalformedMessage]
) -> list[MalformedMessage]:
    """The messages that have no dead letter yet, without repetitions."""
    if not messages:
        return []
    once = {message.event_id: message for message in messages}
    kept_ids = set(connection.execute(_KEPT, {"ids": list(once)}).scalars())
    return [message for event_id, message in once.items() if event_id not in kept_ids]


def unhandled(recorded: RecordedEvent, status: Status, error: str) -> DeadLetter:
    """For an event that was decoded but not handled."""
    return DeadLetter(
        event_id=recorded.event_id,
        event_type=recorded.event_type,
        entity_id=recorded.entity_id,
        status=status,
        subject=recorded.subject,
        body=encode(recorded).decode(),
        error=error[:MAX_ERROR_LENGTH],
    )


def undecodable(message: MalformedMessage) -> DeadLetter:
    """For a message that cannot be decoded."""
    return DeadLetter(
        event_id=message.event_id,
        event_type=None,
        entity_id=None,
        status=Status.UNDECODABLE,
        subject=message.subject,
        body=message.body.decode(errors="backslashreplace"),
        error=message.error[:MAX_ERROR_LENGTH],
    )


def keep(connection: Connection, letters: Sequence[DeadLetter], at: datetime) -> None:
    """Insert the dead letters; one that is kept already stays as it is."""
    rows = [{**msgspec.structs.asdict(letter), "dead_lettered_at": at} for letter in letters]
    insert_missing(connection, DEAD_LETTER, rows)
