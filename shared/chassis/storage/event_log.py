"""A service's history and its outbox in one append-only table.

Positions are contiguous from 1; versions are contiguous per entity, and their uniqueness is the optimistic lock.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    func,
    select,
)

from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.cloudevents import encode_stored
from shared.chassis.messages.recorded_event import RecordedEvent, StoredEvent
from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, insert_all
from shared.chassis.storage.sql import any_of, each_of, execute_many

EVENT_LOG = Table(
    "event_log",
    CHASSIS_METADATA,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False, unique=True),
    Column("entity_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("data", Text, nullable=False),
    Column("causation_id", Text),
    Column("correlation_id", Text, nullable=False),
    Column("traceparent", Text),
    Column("recorded_at", UtcTime, nullable=False),
    Column("stream_seq", Integer, comment="NULL until the broker has acknowledged it"),
    Column("resends", Integer, nullable=False, comment="how often it was to be sent again"),
    Column("refusal", Text, comment="why the broker refuses it permanently"),
    Column("actor", Text, comment="NULL for an effect of another event"),
    UniqueConstraint("entity_id", "version"),
)
SCANNED = 20
"""How many positions a page of some event types covers for each event that it may contain."""

IS_UNSENT = EVENT_LOG.c.stream_seq.is_(None) & EVENT_LOG.c.refusal.is_(None)
_IS_REFUSED = EVENT_LOG.c.refusal.is_not(None)
Index(
    "event_log_unsent",
    EVENT_LOG.c.position,
    sqlite_where=IS_UNSENT,
    postgresql_where=IS_UNSENT,
)
Index(
    "event_log_refused",
    EVENT_LOG.c.position,
    sqlite_where=_IS_REFUSED,
    postgresql_where=_IS_REFUSED,
)

_LAST_POSITION = select(func.max(EVENT_LOG.c.position))
_ENTITIES = each_of("entities")
_LAST_VERSIONS = select(
    _ENTITIES.c.value.label("entity_id"),
    # One look at the end of the entity's part of the unique index, however long its history.
    select(EVENT_LOG.c.version)
    .where(EVENT_LOG.c.entity_id == _ENTITIES.c.value)
    .order_by(EVENT_LOG.c.version.desc())
    .limit(1)
    .scalar_subquery()
    .label("last"),
)
_LAST_ACKNOWLEDGED = (
    select(EVENT_LOG.c.position)
    .where(EVENT_LOG.c.stream_seq.is_not(None))
    .order_by(EVENT_LOG.c.position.desc())
    .limit(1)
)
_ACKNOWLEDGED_BETWEEN = (
    select(EVENT_LOG.c.position)
    .where(
        EVENT_LOG.c.position > bindparam("after"),
        EVENT_LOG.c.position <= bindparam("last"),
        EVENT_LOG.c.stream_seq > bindparam("sequence"),
    )
    .order_by(EVENT_LOG.c.position)
)
_UNACKNOWLEDGED = (IS_UNSENT, _IS_REFUSED)
_RECORDED = select(EVENT_LOG.c.event_id).where(any_of(EVENT_LOG.c.event_id, "ids"))
_UNSENT = select(EVENT_LOG).where(IS_UNSENT).order_by(EVENT_LOG.c.position).limit(bindparam("most"))
_READ_AFTER = (
    select(EVENT_LOG)
    .where(EVENT_LOG.c.position > bindparam("after"))
    .order_by(EVENT_LOG.c.position)
    .limit(bindparam("most"))
)
_PAGE_AFTER = _READ_AFTER.where(EVENT_LOG.c.position <= bindparam("up_to"))
_PAGE_OF_TYPES_AFTER = _PAGE_AFTER.where(any_of(EVENT_LOG.c.event_type, "types"))
_REFUSED = select(func.count()).select_from(EVENT_LOG).where(_IS_REFUSED)
# An event that is to be resent meanwhile keeps no outcome of its earlier attempt.
_PUBLISHED = EVENT_LOG.update().where(
    EVENT_LOG.c.position == bindparam("published"), EVENT_LOG.c.resends == bindparam("attempt")
)
_MARK_SENT = _PUBLISHED.values(stream_seq=bindparam("sequence"))
_MARK_REFUSED = _PUBLISHED.values(refusal=bindparam("reason"))
_TO_BE_RESENT = EVENT_LOG.update().values(
    stream_seq=None, refusal=None, resends=EVENT_LOG.c.resends + 1
)
_RESEND = _TO_BE_RESENT.where(EVENT_LOG.c.position == bindparam("again"))
_POSITIONS = select(EVENT_LOG.c.position).where(any_of(EVENT_LOG.c.event_id, "ids"))
_RESEND_ENTITY = _TO_BE_RESENT.where(
    (EVENT_LOG.c.entity_id == bindparam("entity"))
    | (EVENT_LOG.c.position == _LAST_POSITION.scalar_subquery()),
    EVENT_LOG.c.stream_seq.is_not(None) | _IS_REFUSED,  # the others are published anyway
)


class Outgoing(NamedTuple):
    """An event ready to be published."""

    position: int
    resends: int
    event_id: str
    subject: str
    body: bytes

    @property
    def message_id(self) -> str:
        """What the broker recognizes a repeated message by. A resent event must not pass for one."""
        return f"{self.event_id}/{self.resends}" if self.resends else self.event_id


class LogPage(NamedTuple):
    """Part of a log, as it is published."""

    bodies: list[bytes]
    through: int
    """The page contains every requested event up to this position."""
    end: int
    """The log's last position."""


def event_id_of(message_id: str) -> str:
    """The id of the event that was published under this message id."""
    return message_id.partition("/")[0]


class Acknowledged(NamedTuple):
    """Which events, from a position on, the broker has acknowledged: one byte for each, 1 or 0."""

    first: int
    flags: bytearray


class Sent(NamedTuple):
    """What became of published events, by position; of one that is in neither it is not known."""

    sequences: Mapping[int, int]
    """Where in the stream the broker has stored it."""
    refusals: Mapping[int, str]
    """Why the broker will never take it."""


def last_position(connection: Connection) -> int:
    """The newest event's position; 0 while there is none."""
    return connection.execute(_LAST_POSITION).scalar() or 0


def event_id_at(connection: Connection, position: int) -> str | None:
    """The id of the event at `position`; None beyond the log's end."""
    query = select(EVENT_LOG.c.event_id).where(EVENT_LOG.c.position == position)
    return connection.execute(query).scalar()


def append(
    connection: Connection,
    events: Sequence[StoredEvent],
    stream_sequences: Mapping[int, int] | None = None,
) -> None:
    """Write the events, numbered from the log's end by the caller; by position, where the stream has those that it has.

    Raises IntegrityError when another writer has taken a position or a version meanwhile.
    """
    if not events:
        return
    versions = _last_versions(connection, {event.entity_id for event in events})
    rows = []
    for event in events:
        version = versions[event.entity_id] = versions[event.entity_id] + 1
        sequence = stream_sequences.get(event.position) if stream_sequences else None
        rows.append(_row(event, version, sequence))
    insert_all(connection, EVENT_LOG, rows)


def unsent(connection: Connection, source: str, most: int) -> list[Outgoing]:
    """The oldest events that the broker has neither acknowledged nor refused, in order."""
    return [_outgoing(row, source) for row in connection.execute(_UNSENT, {"most": most})]


def count_refused(connection: Connection) -> int:
    """How many events the broker refuses permanently."""
    return connection.execute(_REFUSED).scalar_one()


def mark(connection: Connection, published: Sequence[Outgoing], sent: Sent) -> None:
    """Note what became of these events, except of those that are to be sent once more since."""
    attempts = {outgoing.position: outgoing.resends for outgoing in published}
    sequences = [
        {"published": position, "attempt": attempts[position], "sequence": sequence}
        for position, sequence in sent.sequences.items()
    ]
    execute_many(connection, _MARK_SENT, sequences)
    refusals = [
        {"published": position, "attempt": attempts[position], "reason": reason}
        for position, reason in sent.refusals.items()
    ]
    execute_many(connection, _MARK_REFUSED, refusals)


def resend(connection: Connection, positions: Iterable[int]) -> None:
    """Have the events of these positions published again."""
    if rows := [{"again": position} for position in positions]:
        connection.execute(_RESEND, rows)


def last_acknowledged(connection: Connection) -> int:
    """The position of the newest event that the broker has acknowledged; 0 while there is none."""
    return connection.execute(_LAST_ACKNOWLEDGED).scalar() or 0


def acknowledged_between(
    connection: Connection, after: int, last: int, *, stored_after: int
) -> list[int]:
    """The positions in this range of events that the broker has acknowledged at later stream sequences."""
    return list(
        connection.execute(
            _ACKNOWLEDGED_BETWEEN, {"after": after, "last": last, "sequence": stored_after}
        ).scalars()
    )


def acknowledged_since(connection: Connection, moment: datetime | None) -> Acknowledged:
    """The acknowledged events among those that were recorded since then; among all without a moment."""
    first = 1 if moment is None else last_before(connection, moment) + 1
    flags = bytearray(b"\1") * (last_position(connection) + 1 - first)
    for condition in _UNACKNOWLEDGED:  # few, and in an index each
        rows = select(EVENT_LOG.c.position).where(condition, EVENT_LOG.c.position >= first)
        for position in connection.execute(rows).scalars():
            flags[position - first] = 0
    return Acknowledged(first, flags)


def last_before(connection: Connection, moment: datetime) -> int:
    """The position of the last event that was recorded before this moment; 0 if there is none."""
    positions = range(1, last_position(connection) + 1)
    return bisect_left(positions, moment, key=lambda position: _recorded_at(connection, position))


def positions_of(connection: Connection, event_ids: Collection[str]) -> list[int]:
    """Those that the events with these ids have; an id of no event of this log has none."""
    return list(connection.execute(_POSITIONS, {"ids": list(event_ids)}).scalars())


def resend_entity(connection: Connection, entity_id: str) -> None:
    """Have the entity's events published again, except those that are still to be published.

    The log's newest event follows them, so that it is again the stream's last of this service.
    """
    connection.execute(_RESEND_ENTITY, {"entity": entity_id})


def recorded_among(connection: Connection, event_ids: Collection[str]) -> set[str]:
    """Those of the ids that events of this log have."""
    if not event_ids:
        return set()
    return set(connection.execute(_RECORDED, {"ids": list(event_ids)}).scalars())


def read_all(connection: Connection, source: str, catalog: Catalog) -> Iterable[RecordedEvent]:
    """The whole history, oldest first."""
    for row in connection.execute(select(EVENT_LOG).order_by(EVENT_LOG.c.position)):
        yield read(row, source, catalog)


def read_after(
    connection: Connection, source: str, catalog: Catalog, position: int, most: int
) -> list[RecordedEvent]:
    """The next events after this position, oldest first."""
    rows = connection.execute(_READ_AFTER, {"after": position, "most": most}).all()
    return [read(row, source, catalog) for row in rows]


def page_after(
    connection: Connection,
    source: str,
    position: int,
    *,
    types: Sequence[str] = (),
    most: int,
    most_bytes: int,
) -> LogPage:
    """Events after this position, of these types or of all, in order: one at least unless `most` is 0.

    Looks at `most` positions, or at SCANNED times as many for some types only.
    """
    end = last_position(connection)
    through = max(position, min(position + (most * SCANNED if types else most), end))
    query = _PAGE_OF_TYPES_AFTER if types else _PAGE_AFTER
    bounds = {"after": position, "up_to": through, "most": most}
    rows = connection.execute(query, bounds | ({"types": list(types)} if types else {}))
    bodies: list[bytes] = []
    last = position
    for row in rows:
        body = _outgoing(row, source).body
        most_bytes -= len(body) + 1
        if bodies and most_bytes < 0:
            return LogPage(bodies, last, end)
        bodies.append(body)
        last = row.position
    return LogPage(bodies, last if len(bodies) == most else through, end)


def read(row: Row[tuple[object, ...]], source: str, catalog: Catalog) -> RecordedEvent:
    """The event in a row of `event_log`, lifted to its current schema."""
    return RecordedEvent(
        event_id=row.event_id,
        source=source,
        position=row.position,
        event=catalog.decode(row.event_type, row.schema_version, row.data),
        recorded_at=row.recorded_at,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        traceparent=row.traceparent,
        actor=row.actor,
    )


def _recorded_at(connection: Connection, position: int) -> datetime:
    query = select(EVENT_LOG.c.recorded_at).where(EVENT_LOG.c.position == position)
    recorded_at: datetime = connection.execute(query).scalar_one()
    return recorded_at


def _outgoing(row: Row[tuple[object, ...]], source: str) -> Outgoing:
    """Without decoding its data: a type of a newer release must not stop the older one after a rollback."""
    stored = StoredEvent(
        event_id=row.event_id,
        source=source,
        position=row.position,
        event_type=row.event_type,
        schema_version=row.schema_version,
        entity_id=row.entity_id,
        data=row.data.encode(),
        recorded_at=row.recorded_at,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        traceparent=row.traceparent,
        actor=row.actor,
    )
    return Outgoing(
        position=row.position,
        resends=row.resends,
        event_id=row.event_id,
        subject=stored.subject,
        body=encode_stored(stored),
    )


def _last_versions(connection: Connection, entities: set[str]) -> dict[str, int]:
    rows = connection.execute(_LAST_VERSIONS, {"entities": list(entities)})
    return {row.entity_id: row.last or 0 for row in rows}


def _row(event: StoredEvent, version: int, stream_seq: int | None) -> dict[str, object]:
    return {
        "position": event.position,
        "event_id": event.event_id,
        "entity_id": event.entity_id,
        "version": version,
        "event_type": event.event_type,
        "schema_version": event.schema_version,
        "data": event.data.decode(),
        "causation_id": event.causation_id,
        "correlation_id": event.correlation_id,
        "traceparent": event.traceparent,
        "recorded_at": event.recorded_at,
        "stream_seq": stream_seq,
        "resends": 0,
        "refusal": None,
        "actor": event.actor,
    }
