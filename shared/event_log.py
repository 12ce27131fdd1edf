"""A service's history and its outbox in one append-only table.

Positions are contiguous from 1; versions are contiguous per entity, and their uniqueness is the optimistic lock.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
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

from shared.bulk import execute_many
from shared.contracts.recorded import Recorded, decode_data
from shared.database import CHASSIS, UtcTime, insert_all
from shared.one_of import is_one_of

EVENT_LOG = Table(
    "event_log",
    CHASSIS,
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
    UniqueConstraint("entity_id", "version"),
)
Index(
    "event_log_unsent",
    EVENT_LOG.c.position,
    sqlite_where=EVENT_LOG.c.stream_seq.is_(None),
    postgresql_where=EVENT_LOG.c.stream_seq.is_(None),
)

_LAST_POSITION = select(func.max(EVENT_LOG.c.position))
_LAST_VERSIONS = (
    select(EVENT_LOG.c.entity_id, func.max(EVENT_LOG.c.version).label("last"))
    .where(is_one_of(EVENT_LOG.c.entity_id, "entities"))
    .group_by(EVENT_LOG.c.entity_id)
)
_RECORDED = select(EVENT_LOG.c.event_id).where(is_one_of(EVENT_LOG.c.event_id, "ids"))
_UNSENT = (
    select(EVENT_LOG)
    .where(EVENT_LOG.c.stream_seq.is_(None))
    .order_by(EVENT_LOG.c.position)
    .limit(bindparam("most"))
)
_MARK = (
    EVENT_LOG.update()
    .where(EVENT_LOG.c.position == bindparam("sent"))
    .values(stream_seq=bindparam("sequence"))
)


def last_position(connection: Connection) -> int:
    """The newest event's position; 0 while there is none."""
    return connection.execute(_LAST_POSITION).scalar() or 0


def event_id_at(connection: Connection, position: int) -> str | None:
    """The id of the event at `position`; None beyond the log's end."""
    query = select(EVENT_LOG.c.event_id).where(EVENT_LOG.c.position == position)
    return connection.execute(query).scalar()


def append(connection: Connection, events: Sequence[Recorded]) -> None:
    """Write the events, numbered from the log's end by the caller.

    Raises IntegrityError when another writer has taken a position or a version meanwhile.
    """
    if not events:
        return
    versions = _last_versions(connection, {recorded.key for recorded in events})
    rows = []
    for recorded in events:
        version = versions[recorded.key] = versions.get(recorded.key, 0) + 1
        rows.append(_row(recorded, version))
    insert_all(connection, EVENT_LOG, rows)


def unsent(connection: Connection, source: str, most: int) -> list[Recorded]:
    """The oldest events that the broker has not acknowledged, in order."""
    return [read(row, source) for row in connection.execute(_UNSENT, {"most": most})]


def mark_sent(connection: Connection, sequences: Mapping[int, int]) -> None:
    """Note the stream sequence at which the broker acknowledged each position."""
    rows = [{"sent": position, "sequence": sequence} for position, sequence in sequences.items()]
    execute_many(connection, _MARK, rows)


def recorded_among(connection: Connection, event_ids: Collection[str]) -> set[str]:
    """Those of the ids that events of this log have."""
    if not event_ids:
        return set()
    return set(connection.execute(_RECORDED, {"ids": list(event_ids)}).scalars())


def read_all(connection: Connection, source: str) -> Iterable[Recorded]:
    """The whole history, oldest first."""
    for row in connection.execute(select(EVENT_LOG).order_by(EVENT_LOG.c.position)):
        yield read(row, source)


def read(row: Row[tuple[object, ...]], source: str) -> Recorded:
    """The event in a row of `event_log`, lifted to its present schema."""
    return Recorded(
        event_id=row.event_id,
        source=source,
        position=row.position,
        event=decode_data(row.event_type, row.schema_version, row.data),
        recorded_at=row.recorded_at,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        traceparent=row.traceparent,
    )


def _last_versions(connection: Connection, entities: set[str]) -> dict[str, int]:
    rows = connection.execute(_LAST_VERSIONS, {"entities": list(entities)})
    return {row.entity_id: row.last for row in rows}


def _row(recorded: Recorded, version: int) -> dict[str, object]:
    return {
        "position": recorded.position,
        "event_id": recorded.event_id,
        "entity_id": recorded.key,
        "version": version,
        "event_type": recorded.event_type,
        "schema_version": recorded.event.SCHEMA_VERSION,
        "data": msgspec.json.encode(recorded.event).decode(),
        "causation_id": recorded.causation_id,
        "correlation_id": recorded.correlation_id,
        "traceparent": recorded.traceparent,
        "recorded_at": recorded.recorded_at,
        "stream_seq": None,
    }
