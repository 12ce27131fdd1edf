"""The only hand that changes the service's database: whatever waits goes into one transaction.

One event alone is fast; a thousand share one fsync. If the commit fails, nothing has happened.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.chassis.engine.inbound import Message
from shared.chassis.engine.rules import RuleFailed, rules
from shared.chassis.engine.unit_of_work import (
    Answer,
    CommandEnvelope,
    Outcome,
)
from shared.chassis.failpoints import failpoint
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.database import Database, DatabaseDamaged
from shared.chassis.storage.idempotency import Reply

MAX_AT_ONCE = 512
"""Messages and commands in one transaction: bounds the time that the first of them waits."""

MAX_WAITING = 4 * MAX_AT_ONCE
"""A command that finds so many others waiting is refused at once: its caller would hardly wait for its turn."""

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
"""The database takes nothing at present, whatever the batch contains."""

T = TypeVar("T")
State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")

log = structlog.get_logger()


class StorageUnavailable(Exception):
    """The database did not take the change; nothing has happened, and it may be tried again."""


class Committed(NamedTuple):
    """A command's answer, and the log position by which its events are visible."""

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


class _Commit(NamedTuple):
    heard: list[_Handle]
    asked: list[_Execute]
    aside: list[_Callback]
    outcome: Outcome | None
    results: list[Any]
    """Of `aside`, in order."""


Process = Callable[
    [Connection, Sequence[Message], Sequence[CommandEnvelope[State, Command]]], Outcome
]


class Writer(Generic[State, Command]):
    """Takes commands, heard events and small side jobs; commits them in batches, in order of arrival."""

    def __init__(
        self,
        database: Database,
        process: Process[State, Command],
        *,
        on_commit: Callable[[Outcome], None],
    ) -> None:
        """`process` does the work of a transaction; `on_commit` is called in the event loop when it is durable."""
        self._database = database
        self._process = process
        self._on_commit = on_commit
        self._queue: deque[_Entry] = deque()
        self._arrived = asyncio.Event()
        self._stopping = False
        self._has_given_up = False
        self._in_hand: list[_Entry] = []
        self._begun: Lock | None = None
        """Acquired once for each transaction: when it begins, or when it is given up before."""

    async def execute(self, envelope: CommandEnvelope[State, Command]) -> Committed:
        """Execute a command durably. Raises Rejected, StorageUnavailable, or what a faulty rule raises."""
        if envelope.completes_task is None and len(self._queue) >= MAX_WAITING:
            raise StorageUnavailable(f"{MAX_WAITING} commands wait already")
        asked = _Execute(envelope, _future())
        self._enqueue(asked)
        return await asked.done

    async def handle(self, messages: Sequence[Message]) -> None:
        """Handle events durably, each once. Raises StorageUnavailable: hear them again later."""
        heard = _Handle(messages, _future())
        self._enqueue(heard)
        await heard.done

    async def run_in_transaction(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the next transaction: a change that no event records."""
        done: asyncio.Future[T] = _future()
        self._enqueue(_Callback(work, done))
        return await done

    async def run(self) -> None:
        """Commit until stopped; what was taken is finished first."""
        while self._queue or not self._stopping:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            self._in_hand = self._take()
            if self._in_hand:
                await self._settle(self._in_hand)
            self._in_hand = []

    def stop(self) -> None:
        """Finish what waits, then end `run`."""
        self._stopping = True
        self._arrived.set()

    def give_up_waiting(self) -> None:
        """Refuse whatever still waits, so that its callers are answered before the process ends.

        That includes a transaction which waits for the database's lock: it writes nothing when it gets it. The
        database is taken for unavailable then, and nothing more is tried.
        """
        error = StorageUnavailable("the service is stopping")
        self._refuse_waiting(error)
        if self._begun and self._begun.acquire(blocking=False):
            _fail(self._in_hand, error)
            self._has_given_up = True
            self.stop()

    def _refuse_waiting(self, error: StorageUnavailable) -> None:
        waiting = list(self._queue)
        self._queue.clear()
        _fail(waiting, error)

    def _enqueue(self, entry: _Entry) -> None:
        if self._stopping:
            raise StorageUnavailable
        self._queue.append(entry)
        self._arrived.set()

    def _take(self) -> list[_Entry]:
        taken: list[_Entry] = []
        size = 0
        while self._queue and size < MAX_AT_ONCE:
            entry = self._queue.popleft()
            if entry.done.cancelled():  # nobody waits for it
                continue
            size += len(entry.messages) if isinstance(entry, _Handle) else 1
            taken.append(entry)
        return taken

    async def _settle(self, entries: list[_Entry], *, is_retry: bool = False) -> None:
        """Commit the entries together; if one of them makes that impossible, each alone."""
        try:
            committed = await self._commit(entries)
        except (*UNAVAILABLE, StorageUnavailable) as error:
            log.warning("batch.rolled_back", entries=len(entries), error=_reason(error))
            _fail(entries, StorageUnavailable(_reason(error)))
        except Exception as error:  # noqa: BLE001 - a rule, or the driver for one odd value, raises anything
            await self._settle_faulty(entries, error, is_retry=is_retry)
        else:
            self._announce(committed)

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
            alone = _Handle([message], _future())
            await self._settle([alone], is_retry=True)
            if error := alone.done.exception():
                _fail([entry], error)
                return
        _fulfil(entry.done, None)

    async def _commit(self, entries: Sequence[_Entry]) -> _Commit:
        messages = [
            message for entry in entries if isinstance(entry, _Handle) for message in entry.messages
        ]
        asked = [entry for entry in entries if isinstance(entry, _Execute)]
        aside = [entry for entry in entries if isinstance(entry, _Callback)]

        if self._has_given_up:
            raise StorageUnavailable("the service is stopping")
        begun = self._begun = Lock()

        def transaction(connection: Connection) -> tuple[Outcome | None, list[Any]]:
            if not begun.acquire(blocking=False):
                raise StorageUnavailable("the service is stopping")
            with rules():
                results = [entry.work(connection) for entry in aside]
            if not messages and not asked:
                return None, results
            envelopes = [entry.envelope for entry in asked]
            outcome = self._process(connection, messages, envelopes)
            if outcome.events:
                failpoint("before_commit")
            return outcome, results

        try:
            outcome, results = await self._database.run(transaction)
        except UNAVAILABLE as error:
            if not begun.locked():  # the others would wait in vain too, one batch after the other
                self._refuse_waiting(StorageUnavailable(_reason(error)))
            raise
        finally:
            self._begun = None
        heard = [entry for entry in entries if isinstance(entry, _Handle)]
        return _Commit(heard, asked, aside, outcome, results)

    def _announce(self, committed: _Commit) -> None:
        """Tell everyone. Whatever fails here, the batch is durable: no one may hear that it is not."""
        if outcome := committed.outcome:
            if outcome.events:
                failpoint("after_commit")
            self._on_commit(outcome)
            _log(outcome)
            for asked, answer in zip(committed.asked, outcome.answers, strict=True):
                _answer(asked, answer, outcome.position)
        for heard in committed.heard:
            _fulfil(heard.done, None)
        for aside, result in zip(committed.aside, committed.results, strict=True):
            _fulfil(aside.done, result)


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


def _answer(asked: _Execute, answer: Answer, position: int) -> None:
    if isinstance(answer, Rejected):
        _fail([asked], answer)
    elif isinstance(answer, RuleFailed):
        log.error("command.failed", exc_info=answer.error)
        _fail([asked], answer.error)
    else:
        _fulfil(asked.done, Committed(answer, position))


def _fulfil(done: asyncio.Future[T], result: T) -> None:
    if not done.done():  # its caller has gone away; the change is made all the same
        done.set_result(result)


def _fail(entries: Sequence[_Entry], error: BaseException) -> None:
    for entry in entries:
        if not entry.done.done():
            entry.done.set_exception(error)


def _reason(error: Exception) -> str:
    """Without the SQL: readiness shows it to anyone."""
    return str(getattr(error, "orig", None) or error) or type(error).__name__


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()
