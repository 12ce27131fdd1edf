"""Work that is due later, written in the transaction of the event that causes it.

A task is identified by (kind, task_key); scheduling it again moves it to the new time. A run finishes the task by its
`task_id`, so a run that was overtaken by a new schedule finishes nothing.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Index, Integer, Table, Text, bindparam, func, select

from shared.chassis.messages.clock import new_id
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.schedule import Cancel, Change, Schedule
from shared.chassis.storage.database import (
    CHASSIS_METADATA,
    Json,
    Rows,
    UtcTime,
    insert_missing,
    upsert,
)
from shared.chassis.storage.sql import any_of, execute_many


class Task(NamedTuple):
    """Work that is due at `due_at`; `attempts` is the number of failed attempts.

    `stuck` counts how often the outcome could not be processed, which is not a failure of the work itself.
    """

    task_id: str
    kind: str
    task_key: str
    payload: dict[str, Any]
    due_at: datetime
    attempts: int
    first_due_at: datetime
    causation_id: str | None
    correlation_id: str
    traceparent: str | None
    stuck: int = 0
    last_error: str | None = None

    def seconds_due(self, now: datetime) -> float:
        """The time since it was first due."""
        return (now - self.first_due_at).total_seconds()


TASK = Table(
    "task",
    CHASSIS_METADATA,
    Column("kind", Text, primary_key=True),
    Column("task_key", Text, primary_key=True),
    Column("task_id", Text, nullable=False, unique=True),
    Column("payload", Json, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("stuck", Integer, nullable=False),
    Column("first_due_at", UtcTime, nullable=False),
    Column("last_error", Text),
    Column("causation_id", Text),
    Column("correlation_id", Text, nullable=False),
    Column("traceparent", Text),
)
Index("task_due", TASK.c.due_at)

_FIELDS = [TASK.c[name] for name in Task._fields]
TASKS = select(*_FIELDS)
_WAITING = any_of(TASK.c.kind, "kinds") & ~any_of(TASK.c.task_id, "busy")
_DUE = (
    TASKS.where(TASK.c.due_at <= bindparam("now"), _WAITING)
    .order_by(TASK.c.due_at)
    .limit(bindparam("most"))
)
_NEXT_DUE = select(func.min(TASK.c.due_at)).where(_WAITING)
_KINDS = select(TASK.c.kind).distinct()
_PRESENT = select(TASK.c.task_id).where(any_of(TASK.c.task_id, "task_ids"))
_DROP = TASK.delete().where(
    TASK.c.kind == bindparam("a_kind"), TASK.c.task_key == bindparam("a_key")
)
_TASK = TASKS.where(TASK.c.kind == bindparam("a_kind"), TASK.c.task_key == bindparam("a_key"))
_MAKE_DUE = (
    TASK.update()
    .where(TASK.c.task_id == bindparam("a_task"), TASK.c.due_at > bindparam("now"))
    .values(due_at=bindparam("now"))
)
_MAKE_ALL_DUE = (
    TASK.update()
    .where(
        TASK.c.correlation_id == bindparam("saga"),
        TASK.c.due_at > bindparam("now"),
        any_of(TASK.c.kind, "kinds"),
    )
    .values(due_at=bindparam("now"))
)
_FINISH = TASK.delete().where(TASK.c.task_id == bindparam("finished"))
_FINISH_CAUSED_BY = TASK.delete().where(any_of(TASK.c.causation_id, "causes"))
_POSTPONE = (
    TASK.update()
    .where(TASK.c.task_id == bindparam("postponed"))
    .values(
        due_at=bindparam("until"),
        attempts=TASK.c.attempts + bindparam("failures"),
        stuck=TASK.c.stuck + bindparam("times_stuck"),
        last_error=bindparam("error"),
    )
)


def apply(
    connection: Connection, changes: Sequence[tuple[Change, RecordedEvent]], now: datetime
) -> datetime | None:
    """Write the changes that the events cause; of two changes to one task the later counts.

    Returns the earliest new due time.
    """
    last: dict[tuple[str, str], tuple[Change, RecordedEvent]] = {}
    for change, cause in changes:
        if not (replaces_nothing(change) and (change.kind, change.key) in last):
            last[change.kind, change.key] = change, cause
    dropped = [
        {"a_kind": change.kind, "a_key": change.key}
        for change, _ in last.values()
        if isinstance(change, Cancel)
    ]
    execute_many(connection, _DROP, dropped)
    scheduled: Rows = []
    missing: Rows = []
    for change, cause in last.values():
        if isinstance(change, Schedule):
            (missing if change.only_if_missing else scheduled).append(_row(change, cause, now))
    upsert(connection, TASK, scheduled)
    insert_missing(connection, TASK, missing)
    return min((row["due_at"] for row in [*scheduled, *missing]), default=None)


def replaces_nothing(change: Change) -> bool:
    """Whether a task that exists stays as it is."""
    return isinstance(change, Schedule) and change.only_if_missing


def due(
    connection: Connection, now: datetime, kinds: Sequence[str], busy: Sequence[str], most: int
) -> list[Task]:
    """The due tasks of these kinds without the `busy` ones, longest overdue first."""
    rows = connection.execute(_DUE, {"now": now, "kinds": kinds, "busy": busy, "most": most})
    return [Task(*row) for row in rows]


def next_due(connection: Connection, kinds: Sequence[str], busy: Sequence[str]) -> datetime | None:
    """When the next task of these kinds is due, without the `busy` ones."""
    return connection.execute(_NEXT_DUE, {"kinds": kinds, "busy": busy}).scalar()


def all_kinds(connection: Connection) -> list[str]:
    """The kinds of all tasks in the table."""
    return list(connection.execute(_KINDS).scalars())


def present(connection: Connection, task_ids: Sequence[str]) -> set[str]:
    """Those of these tasks that still exist: not finished, cancelled or scheduled again."""
    if not task_ids:
        return set()
    return set(connection.execute(_PRESENT, {"task_ids": task_ids}).scalars())


def find(connection: Connection, kind: str, task_key: str) -> Task | None:
    """The task, unless it is finished or cancelled."""
    row = connection.execute(_TASK, {"a_kind": kind, "a_key": task_key}).one_or_none()
    return Task(*row) if row else None


def make_due(connection: Connection, kind: str, task_key: str, now: datetime) -> Task | None:
    """Make the task due now, unless it is due already; returns it as it is then, None if there is none."""
    task = find(connection, kind, task_key)
    if task is None or task.due_at <= now:
        return task
    connection.execute(_MAKE_DUE, {"a_task": task.task_id, "now": now})
    return task._replace(due_at=now)


def make_all_due(
    connection: Connection, correlation_id: str, kinds: Sequence[str], now: datetime
) -> None:
    """Make the saga's tasks of these kinds due now that are due later."""
    connection.execute(_MAKE_ALL_DUE, {"saga": correlation_id, "kinds": kinds, "now": now})


def finish(connection: Connection, task_ids: Sequence[str]) -> None:
    """Delete tasks that are done."""
    execute_many(connection, _FINISH, [{"finished": task_id} for task_id in task_ids])


def finish_caused_by(connection: Connection, causation_ids: Collection[str]) -> None:
    """Delete the tasks that these events made due."""
    if causation_ids:
        connection.execute(_FINISH_CAUSED_BY, {"causes": list(causation_ids)})


def postpone(
    connection: Connection, task_id: str, until: datetime, error: str, *, is_stuck: bool = False
) -> None:
    """Move the task to a later time: the work failed, or its outcome is stuck, which does not count as an attempt."""
    connection.execute(
        _POSTPONE,
        {
            "postponed": task_id,
            "until": until,
            "failures": 0 if is_stuck else 1,
            "times_stuck": 1 if is_stuck else 0,
            "error": error,
        },
    )


def _row(change: Schedule, cause: RecordedEvent, now: datetime) -> dict[str, Any]:
    due_at = now + timedelta(seconds=change.delay_seconds)
    return {
        "kind": change.kind,
        "task_key": change.key,
        "task_id": new_id(),
        "payload": change.payload,
        "due_at": due_at,
        "attempts": 0,
        "stuck": 0,
        "first_due_at": due_at,
        "last_error": None,
        "causation_id": cause.event_id,
        "correlation_id": cause.correlation_id,
        "traceparent": cause.traceparent,
    }
