"""Events given up and kept: what could not be decoded or decided, and what waits behind it.

While a key has a row here, its later events join the queue in order; all other keys flow on.
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
    """Why the row is here."""

    PARKED = "PARKED"
    """Its rule raised: the head of its key's queue."""
    WAITING = "WAITING"
    """Came after a parked event of the same key."""
    UNDECODABLE = "UNDECODABLE"
    """Nobody can say which key it belongs to; holds nothing up."""


class MalformedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is no event of ours."""

    subject: str
    body: bytes
    error: str

    @property
    def event_id(self) -> str:
        """A name made of what it says, so that the same rubbish sent twice is kept once."""
        return f"sha256-{hashlib.sha256(self.subject.encode() + self.body).hexdigest()[:32]}"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it came, and why it was given up."""

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
    """Which of these entities are parked: the source of the parked events, and the entity's id."""
    if not entity_ids:
        return set()
    rows = connection.execute(_PARKED, {"entity_ids": list(entity_ids)})
    return {(subject.split(".")[1], entity_id) for entity_id, subject in rows}


def not_kept(
    connection: Connection, messages: Sequence[MalformedMessage]
) -> list[MalformedMessage]:
    """Those of the messages that have no dead letter yet, each once."""
    if not messages:
        return []
    once = {message.event_id: message for message in messages}
    kept = set(connection.execute(_KEPT, {"ids": list(once)}).scalars())
    return [message for event_id, message in once.items() if event_id not in kept]


def given_up(heard: RecordedEvent, status: Status, error: str) -> DeadLetter:
    """The row for an event that was read but not handled."""
    return DeadLetter(
        event_id=heard.event_id,
        event_type=heard.event_type,
        entity_id=heard.entity_id,
        status=status,
        subject=heard.subject,
        body=encode(heard).decode(),
        error=error[:MAX_ERROR_LENGTH],
    )


def unreadable(message: MalformedMessage) -> DeadLetter:
    """The row for a message that is no event of ours."""
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
    """Write them down; one that is here already stays as it is."""
    rows = [{**msgspec.structs.asdict(letter), "dead_lettered_at": at} for letter in letters]
    insert_missing(connection, DEAD_LETTER, rows)
