"""The tasks of a service, for operators: which are due, overdue or retried, run now, give up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, NamedTuple

import msgspec
import structlog
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from shared.chassis.engine.task_runner import TaskRunner
from shared.chassis.engine.writer import Writer
from shared.chassis.http.auth import operators_only
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.pagination import (
    Cursor,
    Keyset,
    Page,
    PageSize,
    page_of,
    schema_name,
    to_cursor,
)
from shared.chassis.http.problems import responses
from shared.chassis.http.request_body import Reason, RequestBody, ServiceRequest
from shared.chassis.messages import clock
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage import task_queue
from shared.chassis.storage.database import Database
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.task_queue import TASK, Task

OVERDUE_SECONDS = 30
"""A due task is executed within milliseconds; one that is due for longer waits for something."""


class TaskState(StrEnum):
    """A task may be in several of these states, or in none: it is not due yet."""

    DUE = "due"
    OVERDUE = "overdue"
    """Due for more than half a minute: deadlines wait until their service has caught up."""
    RETRYING = "retrying"
    """It has failed, or its outcome could not be processed."""


class TaskView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A task; `attempts` counts failures, `stuck` outcomes that could not be processed."""

    kind: str
    key: str
    order_id: str
    """The saga that the task belongs to."""
    states: Sequence[TaskState]
    running: bool
    may_be_given_up: bool
    due_at: datetime
    first_due_at: datetime
    attempts: int
    stuck: int
    last_error: str | None


TaskPage = Annotated[Page[TaskView], schema_name("TaskPage")]
State = Annotated[
    TaskState | None, QueryParameter(name="state", description="only those in this state")
]
Kind = Annotated[str | None, QueryParameter(description="only this kind, e.g. booking")]
OrderId = Annotated[str | None, QueryParameter(name="orderId", description="only this order's")]


class GivingUp(RequestBody, frozen=True, kw_only=True):
    """Why the task is given up, for the log; a mail's outcome shows it too."""

    reason: Reason


class Tasks(NamedTuple):
    """What the handlers need of a service."""

    reader: Reader
    reads: Database
    writer: Writer[Any, Any]
    runners: Sequence[TaskRunner]

    def runner_of(self, kind: str) -> TaskRunner | None:
        return next((runner for runner in self.runners if kind in runner.kinds), None)

    def view(self, task: Task, now: datetime) -> TaskView:
        runner = self.runner_of(task.kind)
        return TaskView(
            kind=task.kind,
            key=task.task_key,
            order_id=task.correlation_id,
            states=_states(task, now),
            running=runner is not None and runner.is_running(task.task_id),
            may_be_given_up=runner is not None and runner.may_give_up(task.kind),
            due_at=task.due_at,
            first_due_at=task.first_due_at,
            attempts=task.attempts,
            stuck=task.stuck,
            last_error=task.last_error,
        )


FromTasks = NamedDependency[Tasks]

_BY_DUE_TIME = Keyset(tuple[datetime, str], TASK.c.due_at.asc(), TASK.c.task_id.asc())

log = structlog.get_logger()


class TaskController(Controller):
    """Bookings, mails, deadlines: work that is due later."""

    path = "/tasks"
    guards = (operators_only,)
    tags = ("tasks",)

    @get("/")
    async def list_tasks(  # noqa: PLR0917 - Litestar passes them by name
        self,
        tasks: FromTasks,
        task_state: State = None,
        kind: Kind = None,
        order_id: OrderId = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> TaskPage:
        """Tasks that are not finished, the longest due first."""
        now = clock.now()
        query = task_queue.TASKS
        match task_state:
            case TaskState.DUE:
                query = query.where(TASK.c.due_at <= now)
            case TaskState.OVERDUE:
                query = query.where(TASK.c.due_at <= now - timedelta(seconds=OVERDUE_SECONDS))
            case TaskState.RETRYING:
                query = query.where(TASK.c.attempts + TASK.c.stuck > 0)
            case None:
                pass
        if kind is not None:
            query = query.where(TASK.c.kind == kind)
        if order_id is not None:
            query = query.where(TASK.c.correlation_id == order_id)
        rows = await tasks.reader.fetch(_BY_DUE_TIME.select(query, cursor, limit))
        return page_of(
            [Task(*row) for row in rows],
            limit,
            lambda task: tasks.view(task, now),
            lambda task: to_cursor(task.due_at, task.task_id),
        )

    @post(
        "/{kind:str}/{key:str}/run",
        status_code=202,
        opt=WITHOUT_KEY,
        responses=responses("unknown-task"),
    )
    async def run_task(
        self, request: ServiceRequest, kind: FromPath[str], key: FromPath[str], tasks: FromTasks
    ) -> TaskView:
        """Make a task due now. A deadline still waits until its service has handled what was published before."""
        now = clock.now()
        work = partial(task_queue.make_due, kind=kind, task_key=key, now=now)
        task = await tasks.writer.run_for_client(work)
        if task is None:
            raise _unknown_task(kind, key)
        log.info("task.made_due", kind=kind, task_key=key, by=request.user.user_id)
        if runner := tasks.runner_of(kind):
            runner.wake(now)
        return tasks.view(task, now)

    @post(
        "/{kind:str}/{key:str}/give-up",
        status_code=200,
        opt=WITHOUT_KEY,
        responses=responses("task-not-given-up", "task-running", "unknown-task"),
    )
    async def give_up_task(
        self,
        request: ServiceRequest,
        kind: FromPath[str],
        key: FromPath[str],
        data: JSONBody[GivingUp],
        tasks: FromTasks,
    ) -> TaskView:
        """End a task as its last failed attempt would: the shipment fails, the mail counts as failed."""
        task = await tasks.reads.run(partial(task_queue.find, kind=kind, task_key=key))
        if task is None:
            raise _unknown_task(kind, key)
        runner = tasks.runner_of(kind)
        if runner is None:
            raise Rejected("task-not-given-up", f"this release does not know tasks of kind {kind}")
        view = tasks.view(task, clock.now())
        reason = f"given up by an operator: {data.reason}"
        await runner.give_up(task, reason, by=request.user.actor)
        log.warning(
            "task.given_up", kind=kind, task_key=key, reason=data.reason, by=request.user.user_id
        )
        return view


def _states(task: Task, now: datetime) -> list[TaskState]:
    seconds = (now - task.due_at).total_seconds()
    states = {
        TaskState.DUE: seconds >= 0,
        TaskState.OVERDUE: seconds >= OVERDUE_SECONDS,
        TaskState.RETRYING: bool(task.attempts or task.stuck),
    }
    return [state for state, holds in states.items() if holds]


def _unknown_task(kind: str, key: str) -> Rejected:
    return Rejected("unknown-task", f"there is no task {kind} of {key}: it is done, or cancelled")
