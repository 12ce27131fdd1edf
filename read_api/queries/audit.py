"""What the read API has applied of each log: `quadrille check --online` compares it with the logs."""

from msgspec import Struct
from sqlalchemy import Connection, func, select

from read_api.tables import EVENTS, HELD_EVENTS, PASSED_OVER, POSITIONS
from shared.chassis.storage.log_audit import digest_of


class AppliedLog(Struct, frozen=True, kw_only=True, rename="camel"):
    """One service's log, as far as it is applied."""

    source: str
    applied: int
    """The last applied position."""
    passed_over: int
    """Applied positions whose event is a dead letter, and not in the archive."""
    digest: str
    """Of the ids of the events up to that position."""


class ReadAudit(Struct, frozen=True, kw_only=True, rename="camel"):
    logs: tuple[AppliedLog, ...]
    held: int
    """Events that were received and are not applied."""


def audit(connection: Connection) -> ReadAudit:
    positions = connection.execute(select(POSITIONS).order_by(POSITIONS.c.source)).all()
    held = connection.execute(select(func.count()).select_from(HELD_EVENTS)).scalar_one()
    return ReadAudit(logs=tuple(_applied(connection, *row) for row in positions), held=held)


def _applied(connection: Connection, source: str, applied: int) -> AppliedLog:
    """The ids of passed-over events are kept beside the archive."""
    archived = select(EVENTS.c.position, EVENTS.c.event_id).where(
        EVENTS.c.source == source, EVENTS.c.position <= applied
    )
    passed_over = select(PASSED_OVER.c.position, PASSED_OVER.c.event_id).where(
        PASSED_OVER.c.source == source, PASSED_OVER.c.position <= applied
    )
    ids = archived.union(passed_over).order_by("position")
    count = select(func.count()).select_from(passed_over.subquery())
    return AppliedLog(
        source=source,
        applied=applied,
        passed_over=connection.execute(count).scalar_one(),
        digest=digest_of(row.event_id for row in connection.execute(ids)),
    )
