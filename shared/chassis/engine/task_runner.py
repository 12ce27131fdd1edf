"""Due tasks → effects → commands: bookings, mails, deadlines, and their retries.

The effect of a task and the recording of its outcome fail separately. An outcome that the database does not accept is
kept in memory and recorded again, without repeating the effect. No new effect starts meanwhile.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError

from shared.chassis.engine.backoff import backoff_seconds
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.engine.writer import StorageUnavailable, Writer
from shared.chassis.messages import actor, clock
from shared.chassis.messages.foreign_text import cleaned
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage import task_queue
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database
from shared.chassis.storage.task_queue import Task

MAX_AT_ONCE = 64
MAX_SLEEP_SECONDS = 60.0
PAUSE_SECONDS = 1.0

FAULT_OF_ONE_ROW = (IntegrityError, DataError, ProgrammingError)
DATABASE_REFUSES = (StorageUnavailable, SQLAlchemyError, OSError, MemoryError)

MAX_REFUSALS = 10
"""After this number the outcome itself is suspected: its task becomes stuck as soon as the database accepts that."""

log = structlog.get_logger()


class Retry(NamedTuple):
    """How often a failed task is tried again, and how far apart: doubling, with full jitter."""

    attempts: int | None = None
    """After this number of failures it is given up."""
    within_seconds: float | None = None
    """It is given up at the first failure this long after it was first due."""
    first_seconds: float = 0.5
    longest_seconds: float = 300.0

    def is_used_up(self, failed: Task, now: datetime) -> bool:
        """Whether no attempt follows the failure that just happened."""
        return (self.attempts is not None and failed.attempts + 1 >= self.attempts) or (
            self.within_seconds is not None and failed.seconds_due(now) >= self.within_seconds
        )

    def pause_seconds(self, failures: int) -> float:
        """A random pause between half of the nominal one and all of it."""
        nominal = backoff_seconds(self.first_seconds, self.longest_seconds, failures)
        return nominal * random.uniform(0.5, 1)  # noqa: S311 - spreading load, not secrets


RECORD_AGAIN = Retry(first_seconds=0.2, longest_seconds=5)
"""Pauses between attempts to record an outcome that the database does not accept."""

REPORTED_FAILURES = 3
"""A single failure is common and repaired within a second: the others need not know."""

STUCK = Retry(first_seconds=60, longest_seconds=3600)
"""Pauses of a task whose outcome cannot be processed, until a release that can is deployed."""


class TaskHandler(NamedTuple):
    """How one kind of task is executed."""

    kind: str
    run: Callable[[Task], Awaitable[Any]]
    """Does the work, with the task's key as idempotency key; returns the command that reports it, if any."""
    give_up: Callable[[Task, str], Any] | None = None
    """The command that reports the last failure; without it the task is tried without limit."""
    retry: Retry = Retry()
    report: Callable[[Task, int], Any] | None = None
    """The command that reports a number of failures so far, for the services that wait for the task: after every third one."""
    actor: Callable[[Task], str] | None = None
    """Who reports the outcome, if it comes from outside the saga."""
    is_deadline: bool = False
    """Due by time alone: it waits until all events that were published before are handled."""


class _Done(NamedTuple):
    """The work has an outcome; the command reports it, if there is one."""

    command: object
    actor: str | None = None


class _Postponed(NamedTuple):
    """The task is tried again later."""

    until: datetime
    error: str
    is_stuck: bool = False


class TaskRunner:
    """Runs tasks when they are due, many at a time; a failure moves the task to a later time."""

    def __init__(
        self,
        database: Database,
        writer: Writer[Any, Any],
        handlers: Sequence[TaskHandler],
        until: Callable[[], Awaitable[datetime | None]] | None = None,
    ) -> None:
        """`until` returns up to which moment due tasks may be executed; None if none may be."""
        self._database = database
        self._writer = writer
        self._until = until
        self._handlers = {handler.kind: handler for handler in handlers}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._unrecorded: set[str] = set()
        """Tasks whose outcome the database does not accept at present."""
        self._outcomes: dict[str, _Done] = {}
        """Outcomes of stuck tasks by task id: when such a task is due again, its effect is not repeated."""
        self._woken = asyncio.Event()
        self._wake_at: datetime | None = None
        self._stopping = False
        self.held_back_since: datetime | None = None
        """Since when tasks are due that may not be executed yet."""

    @property
    def kinds(self) -> set[str]:
        """The kinds of tasks that this runner executes."""
        return set(self._handlers)

    def wake(self, due_at: datetime) -> None:
        """A task that is due then was written."""
        if self._wake_at is None or due_at < self._wake_at:
            self._wake_at = due_at
            self._woken.set()

    def is_running(self, task_id: str) -> bool:
        """Whether the task is being executed, or its outcome recorded."""
        return task_id in self._running

    def may_give_up(self, kind: str) -> bool:
        """Whether a failure of such a task has an outcome."""
        return self._handlers[kind].give_up is not None

    async def give_up(self, task: Task, reason: str, *, by: str) -> None:
        """Record the task's last failure now, for the actor `by`. Raises Rejected or StorageUnavailable."""
        give_up = self._handlers[task.kind].give_up
        if give_up is None:
            detail = f"tasks of kind {task.kind} are tried without limit: nothing records a failure"
            raise Rejected("task-not-given-up", detail)
        if self.is_running(task.task_id):
            raise Rejected("task-running", "it is being executed: wait for its outcome")
        try:
            outcome = _Done(give_up(task, reason), by)
        except msgspec.ValidationError as error:
            raise Rejected("task-not-given-up", f"another release wrote it: {error}") from error
        # As a running task: nobody starts it meanwhile, and a stop waits until it is recorded.
        recording = asyncio.create_task(self._write(task, outcome))
        self._running[task.task_id] = recording
        try:
            await recording
            self._outcomes.pop(task.task_id, None)
        finally:
            self._forget(task)

    def stop(self) -> None:
        """Start no more tasks; `run` ends when those under way are recorded."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Work until stopped; when cancelled, tasks under way are cancelled too and stay due."""
        try:
            while not self._stopping:
                self._woken.clear()
                self._wake_at = None  # tasks that are written during the query cause another one
                self._wake_at = await self._start_due()
                await self._sleep()
            if self._running:
                await asyncio.wait(self._running.values())
        finally:
            for running in self._running.values():
                running.cancel()

    async def _start_due(self) -> datetime | None:
        """Start due tasks; returns when to look again."""
        now = clock.now()
        busy = list(self._running)
        kinds = list(self._handlers)
        room = MAX_AT_ONCE - len(busy)
        if room <= 0 or self._unrecorded:
            return None  # the end of a running task wakes the loop

        def query(connection: Connection) -> tuple[list[Task], datetime | None]:
            tasks = task_queue.due(connection, now, kinds, busy, room)
            taken = [*busy, *(due.task_id for due in tasks)]
            return tasks, task_queue.next_due(connection, kinds, taken)

        try:
            tasks, next_due = await self._database.run(query)
        except TRANSIENT_DATABASE_ERRORS as error:
            log.warning("task_poll.failed", reason=str(error))
            return now + timedelta(seconds=PAUSE_SECONDS)
        ready = await self._allowed(tasks)
        if self._stopping:
            return None
        for due in ready:
            self._running[due.task_id] = asyncio.create_task(self._perform(due))
        if len(ready) < len(tasks):
            self.held_back_since = self.held_back_since or now
            return now + timedelta(seconds=PAUSE_SECONDS)
        self.held_back_since = None
        return next_due

    async def _allowed(self, tasks: list[Task]) -> list[Task]:
        """Those of the due tasks that may be executed now."""
        if not self._until or not tasks:
            return tasks
        until = await self._until()
        return [due for due in tasks if until and due.due_at <= until]

    async def _sleep(self) -> None:
        seconds = 0 if self._stopping else MAX_SLEEP_SECONDS
        if self._wake_at:
            seconds = min(seconds, (self._wake_at - clock.now()).total_seconds())
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _perform(self, due: Task) -> None:
        try:
            outcome = self._outcomes.pop(due.task_id, None) or await self._attempt(due)
            later = await self._finish(due, outcome) if isinstance(outcome, _Done) else outcome
            if later:
                await self._postpone(due, later)
                await self._report(due, later)
        finally:
            self._forget(due)

    def _forget(self, ended: Task) -> None:
        """It is not under way any more: look for the next one."""
        del self._running[ended.task_id]
        self._wake_at = None
        self._woken.set()

    async def _attempt(self, due: Task) -> _Done | _Postponed:
        """Do the work; nothing is written to the database."""
        handler = self._handlers[due.kind]
        try:
            command = await handler.run(due)
            return _Done(command, handler.actor(due) if handler.actor else None)
        except msgspec.ValidationError as error:  # another release wrote the payload
            return _stuck(due, error)
        except Exception as error:  # noqa: BLE001 - whatever the outside world raises
            reason = cleaned(f"{type(error).__name__}: {error}")
        now = clock.now()
        if not (handler.give_up and handler.retry.is_used_up(due, now)):
            return _Postponed(
                now + timedelta(seconds=handler.retry.pause_seconds(due.attempts)), reason
            )
        log.warning("task.given_up", kind=due.kind, task_key=due.task_key, reason=reason)
        try:
            return _Done(handler.give_up(due, reason), actor.SERVICE)
        except Exception as error:  # noqa: BLE001 - a payload that cannot be read, or a faulty rule
            return _stuck(due, error)

    async def _finish(self, due: Task, done: _Done) -> _Postponed | None:
        """Record the outcome and delete the task in one transaction; returns a stuck task's postponement."""
        try:
            await self._record(due, partial(self._write, due, done), _is_database_refusing)
        except Rejected as refused:
            log.info("task.refused", kind=due.kind, task_key=due.task_key, reason=refused.detail)
        except Exception as error:  # noqa: BLE001 - a faulty rule
            self._outcomes[due.task_id] = done
            return _stuck(due, error)
        return None

    async def _postpone(self, due: Task, later: _Postponed) -> None:
        """Move the task to a later time."""
        log.warning(
            "task.postponed",
            kind=due.kind,
            task_key=due.task_key,
            until=str(later.until),
            reason=later.error,
            is_stuck=later.is_stuck,
        )
        work = partial(task_queue.postpone, task_id=due.task_id, **later._asdict())
        await self._record(
            due, lambda: self._writer.run_in_transaction(work), lambda _error, _failures: True
        )

    async def _report(self, due: Task, later: _Postponed) -> None:
        """Report a task that fails again and again. A report that cannot be recorded is left out: the next one follows."""
        failures, report = due.attempts + 1, self._handlers[due.kind].report
        if report is None or later.is_stuck or failures % REPORTED_FAILURES:
            return
        try:
            envelope: CommandEnvelope[Any, Any] = CommandEnvelope(
                report(due, failures), traceparent=due.traceparent, actor=actor.SERVICE
            )
            await self._writer.execute(envelope)
        except Exception as error:  # noqa: BLE001 - a database that refuses, or a faulty rule
            log.warning("task.unreported", kind=due.kind, task_key=due.task_key, reason=str(error))

    async def _write(self, due: Task, done: _Done) -> None:
        if done.command is None:
            await self._writer.run_in_transaction(
                partial(task_queue.finish, task_ids=[due.task_id])
            )
        else:
            envelope: CommandEnvelope[Any, Any] = CommandEnvelope(
                done.command, completes_task=due, actor=done.actor
            )
            await self._writer.execute(envelope)

    async def _record(
        self,
        due: Task,
        write: Callable[[], Awaitable[None]],
        may_pass: Callable[[Exception, int], bool],
    ) -> None:
        """Write, again with growing pauses while the failure `may_pass`. Raises a failure that may not."""
        failures = 0
        try:
            while True:
                try:
                    return await write()
                except Exception as error:
                    if not may_pass(error, failures):
                        raise
                    if not self._unrecorded:  # one line for all tasks
                        log.warning(
                            "task.unrecorded",
                            kind=due.kind,
                            task_key=due.task_key,
                            reason=str(error),
                        )
                self._unrecorded.add(due.task_id)
                await asyncio.sleep(RECORD_AGAIN.pause_seconds(failures))
                failures += 1
        finally:
            self._unrecorded.discard(due.task_id)


def _is_database_refusing(error: Exception, failures: int) -> bool:
    """Whether the database seems to accept nothing at present, rather than only not this outcome."""
    is_own_fault = isinstance(error, FAULT_OF_ONE_ROW) or failures >= MAX_REFUSALS
    return isinstance(error, DATABASE_REFUSES) and not is_own_fault


def _stuck(due: Task, error: Exception) -> _Postponed:
    log.error("task.stuck", kind=due.kind, task_key=due.task_key, exc_info=error)
    until = clock.now() + timedelta(seconds=STUCK.pause_seconds(due.stuck))
    return _Postponed(until, cleaned(f"{type(error).__name__}: {error}"), is_stuck=True)
