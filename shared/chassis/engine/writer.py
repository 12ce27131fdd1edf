"""The service's single writer: it commits everything that is queued in one transaction (group commit).

A single event is fast, and a thousand share one fsync. If the commit fails, nothing has changed.

What clients ask for waits in one lane, and everything else in another, which each transaction empties first: a consumed
event, a relay's mark or a task's result never waits behind a queue of HTTP requests.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Generic, NamedTuple, Self, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.chassis.engine.rules import RuleFailed, rules
from shared.chassis.engine.unit_of_work import (
    Answer,
    CommandEnvelope,
    Outcome,
)
from shared.chassis.failpoints import failpoint
from shared.chassis.messages.received import Message
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.database import Database, DatabaseDamaged
from shared.chassis.storage.idempotency import Reply

MAX_AT_ONCE = 512
"""Messages and commands in one transaction: bounds the time that the first of them waits."""

MIN_REQUESTS = MAX_AT_ONCE // 4
"""Every transaction has room for this number of client requests, however much else is queued."""

MAX_WAITING = 4 * MAX_AT_ONCE
"""A client's request that finds more of them queued is refused at once: its caller would time out before its turn."""

MAX_LINES_PER_BATCH = 5

UNAVAILABLE = (
    OperationalError,
    InterfaceError,
    InternalError,
    PoolTimeout,
    OSError,
    MemoryError,
    DatabaseDamaged,
)
"""The database accepts nothing at present, whatever the transaction contains."""

T = TypeVar("T")
State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")

log = structlog.get_logger()


class StorageUnavailable(Exception):
    """The database did not accept the change: nothing has changed, and it may be tried again."""


class Committed(NamedTuple):
    """A command's reply, and the log position up to which its events are visible."""

    reply: Reply | None
    position: int


class _Handle(NamedTuple):
    messages: Sequence[Message]
    done: asyncio.Future[None]


class _Execute(NamedTuple):
    envelope: CommandEnvelope[Any, Any]
    done: asyncio.Future[Committed]


class _Callback(NamedTuple):
    work: Callable[[Connection], Any]
    done: asyncio.Future[Any]


_Entry = _Handle | _Execute | _Callback


Process = Callable[[Connection, Sequence[Message], Sequence[CommandEnvelope[Any, Any]]], Outcome]
"""Does the work of a transaction: `process_batch` with its service, or a projector's."""


class _Batch(NamedTuple):
    """Entries that share a transaction, by their kind."""

    handles: list[_Handle]
    executes: list[_Execute]
    callbacks: list[_Callback]

    @classmethod
    def of(cls, entries: Sequence[_Entry]) -> Self:
        return cls(
            [entry for entry in entries if isinstance(entry, _Handle)],
            [entry for entry in entries if isinstance(entry, _Execute)],
            [entry for entry in entries if isinstance(entry, _Callback)],
        )

    def process(self, connection: Connection, process: Process) -> "_Result":
        with rules():
            results = [callback.work(connection) for callback in self.callbacks]
        messages = [message for handle in self.handles for message in handle.messages]
        envelopes = [execute.envelope for execute in self.executes]
        if not messages and not envelopes:
            return _Result(None, results)
        return _Result(process(connection, messages, envelopes), results)


class _Result(NamedTuple):
    """What a batch has done."""

    outcome: Outcome | None
    """Of the messages and commands."""
    callback_results: list[Any]

    @property
    def outcomes(self) -> list[Outcome]:
        """In the order in which they were decided."""
        of_callbacks = [one for one in self.callback_results if isinstance(one, Outcome)]
        return [*of_callbacks, self.outcome] if self.outcome else of_callbacks


class Writer(Generic[State, Command]):
    """Commits commands, consumed events and other changes together, each lane in the order of its arrival."""

    def __init__(
        self,
        database: Database,
        process: Process,
        *,
        on_commit: Callable[[Outcome], None],
    ) -> None:
        """`on_commit` is called in the event loop when a transaction is durable."""
        self._database = database
        self._process = process
        self._on_commit = on_commit
        self._requests: deque[_Entry] = deque()
        """Clients wait for these; there may be any number of them."""
        self._internal: deque[_Entry] = deque()
        """Consumed events, marks and task results: each part of the service waits for its last one before the next."""
        self._arrived = asyncio.Event()
        self._stopping = False
        self._has_given_up = False
        self._current: list[_Entry] = []
        self._started: Lock | None = None
        """Acquired once for each transaction: when it starts, or when it is given up before."""

    @property
    def is_busy(self) -> bool:
        """Whether a transaction is under way, or waits for the database's lock."""
        return bool(self._current)

    async def execute(self, envelope: CommandEnvelope[State, Command]) -> Committed:
        """Execute a command durably.

        Raises Rejected, StorageUnavailable, or what a faulty rule raises. Rejected is `client-gone` if nobody waits.
        """
        entry = _Execute(envelope, _future())
        if envelope.completes_task:
            self._enqueue(entry)
        else:
            self._enqueue_request(entry)
        return await entry.done

    async def handle(self, messages: Sequence[Message]) -> None:
        """Handle events durably, each once. Raises StorageUnavailable: deliver them again later."""
        entry = _Handle(messages, _future())
        self._enqueue(entry)
        await entry.done

    async def run_in_transaction(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the next transaction: for a change of the service's own that no command or event leads to.

        An Outcome that it returns is announced as that of commands and events is.
        """
        done: asyncio.Future[T] = _future()
        self._enqueue(_Callback(work, done))
        return await done

    async def run_for_client(self, work: Callable[[Connection], T]) -> T:
        """As `run_in_transaction`, for a client who waits: it has its turn among the commands.

        Raises StorageUnavailable if too many wait.
        """
        done: asyncio.Future[T] = _future()
        self._enqueue_request(_Callback(work, done))
        return await done

    async def run(self) -> None:
        """Commit until stopped and the queue is empty."""
        while self._is_anything_queued or not self._stopping:
            if not self._is_anything_queued:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            self._current = self._take()
            if self._current:
                await self._settle(self._current)
            self._current = []

    def stop(self) -> None:
        """Commit what is queued, then end `run`."""
        self._stopping = True
        self._arrived.set()

    def give_up_waiting(self) -> None:
        """Refuse what is queued, so that its callers are answered before the process ends.

        A transaction that waits for the database's lock is refused too: it writes nothing when it gets the lock. The
        database counts as unavailable then, and nothing more is tried.
        """
        error = StorageUnavailable("the service is stopping")
        self._refuse_waiting(error)
        if self._started and self._started.acquire(blocking=False):
            _fail(self._current, error)
            self._has_given_up = True
            self.stop()

    @property
    def _is_anything_queued(self) -> bool:
        return bool(self._internal or self._requests)

    def _refuse_waiting(self, error: StorageUnavailable) -> None:
        waiting = [*self._internal, *self._requests]
        self._internal.clear()
        self._requests.clear()
        _fail(waiting, error)

    def _enqueue(self, entry: _Entry) -> None:
        self._append(self._internal, entry)

    def _enqueue_request(self, entry: _Entry) -> None:
        if len(self._requests) >= MAX_WAITING:
            raise StorageUnavailable(f"{MAX_WAITING} commands wait already")
        self._append(self._requests, entry)

    def _append(self, lane: deque[_Entry], entry: _Entry) -> None:
        if self._stopping:
            raise StorageUnavailable
        lane.append(entry)
        self._arrived.set()

    def _take(self) -> list[_Entry]:
        internal = _take_from(self._internal, MAX_AT_ONCE)
        room = MAX_AT_ONCE - sum(map(_size, internal))
        return internal + _take_from(self._requests, max(room, MIN_REQUESTS))

    async def _settle(self, entries: list[_Entry], *, is_retry: bool = False) -> None:
        """Commit the entries together, or each in a transaction of its own if that fails for one of them."""
        batch = _Batch.of(entries)
        try:
            result = await self._commit(batch)
        except (*UNAVAILABLE, StorageUnavailable) as error:
            log.warning("batch.rolled_back", entries=len(entries), error=_reason(error))
            _fail(entries, StorageUnavailable(_reason(error)))
        except Exception as error:  # noqa: BLE001 - a callback, or the driver for one odd value, raises anything
            await self._settle_faulty(entries, error, is_retry=is_retry)
        else:
            self._announce(batch, result)

    async def _settle_faulty(
        self, entries: list[_Entry], error: Exception, *, is_retry: bool
    ) -> None:
        """Split the batch, so that an entry that the database refuses does not affect the others."""
        entry = entries[0]
        if len(entries) > 1:
            for single in entries:
                await self._settle([single], is_retry=True)
        elif isinstance(entry, _Handle) and len(entry.messages) > 1:
            await self._handle_one_by_one(entry)
        elif isinstance(error, RuleFailed) and not isinstance(entry, _Handle):
            log.error("command.failed", exc_info=error.error)
            _fail([entry], error.error)
        elif not is_retry:
            await self._settle(entries, is_retry=True)
        else:
            log.error("batch.rolled_back", entries=1, exc_info=error)
            is_unavailable = isinstance(entry, _Handle) or isinstance(error, SQLAlchemyError)
            _fail(entries, StorageUnavailable(_reason(error)) if is_unavailable else error)

    async def _handle_one_by_one(self, entry: _Handle) -> None:
        for message in entry.messages:
            single = _Handle([message], _future())
            await self._settle([single], is_retry=True)
            if error := single.done.exception():
                _fail([entry], error)
                return
        _fulfil(entry.done, None)

    async def _commit(self, batch: _Batch) -> _Result:
        if self._has_given_up:
            raise StorageUnavailable("the service is stopping")
        started = self._started = Lock()

        def transaction(connection: Connection) -> _Result:
            if not started.acquire(blocking=False):
                raise StorageUnavailable("the service is stopping")
            result = batch.process(connection, self._process)
            if any(outcome.events for outcome in result.outcomes):
                failpoint("before_commit")
            return result

        try:
            return await self._database.run(transaction)
        except UNAVAILABLE as error:
            if not started.locked():  # the others would wait in vain too, one batch after the other
                self._refuse_waiting(StorageUnavailable(_reason(error)))
            raise
        finally:
            self._started = None

    def _announce(self, batch: _Batch, result: _Result) -> None:
        """The batch is durable: whatever fails here, no caller may get an error."""
        outcomes = result.outcomes
        if any(outcome.events for outcome in outcomes):
            failpoint("after_commit")
        for one in outcomes:
            self._on_commit(one)
            _log(one)
        if outcome := result.outcome:
            for execute, answer in zip(batch.executes, outcome.answers, strict=True):
                _complete(execute, answer, outcome.position)
        for handle in batch.handles:
            _fulfil(handle.done, None)
        for callback, value in zip(batch.callbacks, result.callback_results, strict=True):
            _fulfil(callback.done, value)


def _take_from(lane: deque[_Entry], room: int) -> list[_Entry]:
    taken: list[_Entry] = []
    while lane and room > 0:
        entry = lane.popleft()
        if _is_abandoned(entry):
            _fail([entry], Rejected("client-gone", "the client has disconnected"))
            continue
        room -= _size(entry)
        taken.append(entry)
    return taken


def _is_abandoned(entry: _Entry) -> bool:
    if isinstance(entry, _Execute) and entry.envelope.is_abandoned:
        return entry.envelope.is_abandoned()
    return entry.done.cancelled()


def _size(entry: _Entry) -> int:
    return len(entry.messages) if isinstance(entry, _Handle) else 1


def _log(outcome: Outcome) -> None:
    for letter in outcome.dead_letters:
        failed = outcome.failures.get(letter.event_id)
        log.error(
            "event.dead_lettered",
            event_id=letter.event_id,
            subject=letter.subject,
            status=letter.status,
            reason=letter.error,
            exc_info=failed and failed.error,
        )
    _log_events(outcome.events)


def _log_events(events: Sequence[RecordedEvent]) -> None:
    """A line for each event while a reader can follow; else one for all of them."""
    if len(events) > MAX_LINES_PER_BATCH:
        counts = Counter(recorded.event_type for recorded in events)
        log.info("events.recorded", position=events[-1].position, **counts)
        return
    for recorded in events:
        log.info(
            "event.recorded",
            event_type=recorded.event_type,
            key=recorded.entity_id,
            position=recorded.position,
        )


def _complete(execute: _Execute, answer: Answer, position: int) -> None:
    if isinstance(answer, Rejected):
        _fail([execute], answer)
    elif isinstance(answer, RuleFailed):
        log.error("command.failed", exc_info=answer.error)
        _fail([execute], answer.error)
    else:
        _fulfil(execute.done, Committed(answer, position))


def _fulfil(done: asyncio.Future[T], result: T) -> None:
    if not done.done():  # its caller was cancelled; the change is committed all the same
        done.set_result(result)


def _fail(entries: Sequence[_Entry], error: BaseException) -> None:
    for entry in entries:
        if not entry.done.done():
            entry.done.set_exception(error)


def _reason(error: Exception) -> str:
    """Without the SQL, since anyone may read it at `/health/ready`."""
    return str(getattr(error, "orig", None) or error) or type(error).__name__


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()
