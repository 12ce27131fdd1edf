"""Due tasks → the outside world → commands: bookings, mails, deadlines, and their retries."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection

from shared import clock, task
from shared.batch import Wish
from shared.database import Database
from shared.task import Task
from shared.writer import INFRASTRUCTURE, StorageUnavailable, Writer

MOST_AT_ONCE = 64
LONGEST_SLEEP_SECONDS = 60.0
PAUSE_SECONDS = 1.0
STUCK_PAUSE_SECONDS = 60.0

log = structlog.get_logger()


class Retry(NamedTuple):
    """How often a failed task is tried again, and how far apart: doubling, with full jitter."""

    attempts: int | None = None
    """After so many failures it is given up."""
    within_seconds: float | None = None
    """It is given up at the first failure so long after it was first due."""
    first_seconds: float = 0.5
    longest_seconds: float = 300.0

    def is_used_up(self, failed: Task, now: datetime) -> bool:
        """Whether the failure that just happened was the last."""
        return (self.attempts is not None and failed.attempts + 1 >= self.attempts) or (
            self.within_seconds is not None and failed.seconds_due(now) >= self.within_seconds
        )

    def pause_seconds(self, failures: int) -> float:
        """Between half the nominal pause and all of it."""
        nominal: float = min(self.first_seconds * 2 ** min(failures, 30), self.longest_seconds)
        return nominal * random.uniform(0.5, 1)  # noqa: S311 - spreading load, not secrets


class Job(NamedTuple):
    """What to do with one kind of task."""

    kind: str
    run: Callable[[Task], Awaitable[Any]]
    """Does the work under the task's key as idempotency key; returns the command that reports it, if any."""
    give_up: Callable[[Task, str], Any] | None = None
    """The command that reports the last failure; without it the task is tried for ever."""
    retry: Retry = Retry()


class Jobs:
    """Runs tasks as they fall due, many at a time; a failure moves the task to a later time."""

    def __init__(self, database: Database, writer: Writer, jobs: tuple[Job, ...]) -> None:
        self._database = database
        self._writer = writer
        self._jobs = {job.kind: job for job in jobs}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._wake_at: datetime | None = None

    def wake(self, due_at: datetime) -> None:
        """A task was written that falls due then."""
        if self._wake_at is None or due_at < self._wake_at:
            self._wake_at = due_at
            self._news.set()

    async def run(self) -> None:
        """Work for ever; what is under way when cancelled is cancelled too, and due again."""
        try:
            while True:
                self._news.clear()
                self._wake_at = None  # whatever is written while we look makes us look again
                self._wake_at = await self._start_due()
                await self._sleep()
        finally:
            for running in self._running.values():
                running.cancel()

    async def _start_due(self) -> datetime | None:
        """Begin what is due; returns when to look again."""
        now = clock.now()
        busy = list(self._running)
        room = MOST_AT_ONCE - len(busy)
        if room <= 0:
            return None

        def look(connection: Connection) -> tuple[list[Task], datetime | None]:
            tasks = task.due(connection, now, busy, room)
            return tasks, task.next_due(connection, [*busy, *(due.task_id for due in tasks)])

        try:
            tasks, next_due = await self._database.run(look)
        except INFRASTRUCTURE as error:
            log.warning("jobs.wait", reason=str(error))
            return now + timedelta(seconds=PAUSE_SECONDS)
        for due in tasks:
            self._running[due.task_id] = asyncio.create_task(self._perform(due))
        return next_due

    async def _sleep(self) -> None:
        seconds = LONGEST_SLEEP_SECONDS
        if self._wake_at:
            seconds = min(seconds, (self._wake_at - clock.now()).total_seconds())
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _perform(self, due: Task) -> None:
        try:
            await self._attempt(due)
        except StorageUnavailable:
            await asyncio.sleep(PAUSE_SECONDS)  # the row is still there, and due
        except Exception:
            log.exception("task.stuck", kind=due.kind, key=due.key)
            await asyncio.sleep(STUCK_PAUSE_SECONDS)
        finally:
            del self._running[due.task_id]
            self._wake_at = None
            self._news.set()

    async def _attempt(self, due: Task) -> None:
        job = self._jobs[due.kind]
        try:
            command = await job.run(due)
        except Exception as error:  # noqa: BLE001 - whatever the outside world raises
            await self._fail(due, job, f"{type(error).__name__}: {error}")
        else:
            await self._finish(due, command)

    async def _fail(self, due: Task, job: Job, reason: str) -> None:
        """Give the task up, or move it to a later time."""
        now = clock.now()
        if job.give_up and job.retry.is_used_up(due, now):
            log.warning("task.given_up", kind=due.kind, key=due.key, reason=reason)
            await self._finish(due, job.give_up(due, reason))
            return
        until = now + timedelta(seconds=job.retry.pause_seconds(due.attempts))
        log.warning("task.postponed", kind=due.kind, key=due.key, until=str(until), reason=reason)
        await self._writer.aside(
            partial(task.postpone, task_id=due.task_id, until=until, error=reason)
        )

    async def _finish(self, due: Task, command: object) -> None:
        """Record the outcome and drop the task, in one transaction."""
        if command is None:
            await self._writer.aside(partial(task.finish, task_ids=[due.task_id]))
        else:
            await self._writer.execute(Wish(command, finishes=due))
