"""What a running service reports about its own database, without the content of any event."""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, func, select

from shared.chassis.storage import event_log
from shared.chassis.storage.event_log import EVENT_LOG, IS_UNSENT
from shared.chassis.storage.inbox import INBOX
from shared.chassis.storage.task_queue import TASK

OVERDUE_SECONDS = 1
"""A task that is due is executed within milliseconds."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Work that waits."""

    count: int
    since: datetime
    """When the oldest event was recorded, or the first task was due."""


class LogAudit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A service's event log, inbox and tasks."""

    last_position: int
    missing: int
    """Positions up to the last one that have no event."""
    unpublished: Waiting | None
    """Without events that are published again."""
    refused: int
    """Events that the broker refuses permanently."""
    handled: int
    """Events in the inbox."""
    overdue_tasks: Waiting | None
    through: int
    """The position up to which the digest was computed."""
    digest: str
    """Of the ids of these events."""
    next_recorded_at: datetime | None
    """When the event after them was recorded."""


def audit_log(connection: Connection, through: int | None, now: datetime) -> LogAudit:
    """With the digest of the whole log, or of its events up to a position."""
    log = EVENT_LOG.c
    last, events = connection.execute(select(func.max(log.position), func.count())).one()
    end = min(last or 0, last or 0 if through is None else through)
    ids = select(log.event_id).where(log.position <= end).order_by(log.position)
    following = select(log.recorded_at).where(log.position == end + 1)
    return LogAudit(
        last_position=last or 0,
        missing=(last or 0) - events,
        unpublished=_waiting(
            connection.execute(
                select(func.count(), func.min(log.recorded_at)).where(IS_UNSENT, log.resends == 0)
            ).one()
        ),
        refused=event_log.count_refused(connection),
        handled=connection.execute(select(func.count()).select_from(INBOX)).scalar_one(),
        overdue_tasks=_waiting(
            connection.execute(
                select(func.count(), func.min(TASK.c.due_at)).where(
                    TASK.c.due_at < now - timedelta(seconds=OVERDUE_SECONDS)
                )
            ).one()
        ),
        through=end,
        digest=digest_of(connection.execute(ids).scalars()),
        next_recorded_at=connection.execute(following).scalar(),
    )


def digest_of(event_ids: Iterable[str]) -> str:
    """SHA-256 of the ids in their order."""
    digest = hashlib.sha256()
    for event_id in event_ids:
        digest.update(f"{event_id}\n".encode())
    return digest.hexdigest()


def _waiting(row: Iterable[object]) -> Waiting | None:
    count, since = row
    return msgspec.convert({"count": count, "since": since}, Waiting) if count else None
