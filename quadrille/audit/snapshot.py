"""What the shop's database files say, read without writing, while the services run or not.

Each service is read in one snapshot; afterwards every log once more, so that whatever any of the snapshots
builds upon is found in some log.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, create_engine, event, literal_column, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

import inventory_service.domain
import inventory_service.store
import notifier_service.domain
import notifier_service.store
import order_service.domain
import order_service.store
import shipping_service.domain
import shipping_service.store
from shared.chassis.messages.recorded_event import DecodeError, RecordedEvent
from shared.chassis.storage import event_log
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.chassis.storage.event_log import EVENT_LOG
from shared.chassis.storage.inbox import INBOX
from shared.chassis.storage.task_queue import TASK
from shared.contracts import Event

BUSY_SECONDS = 5


class ServiceDefinition(NamedTuple):
    """How to read a deciding service, and how to understand what it says."""

    name: str
    read_all: Callable[[Connection], Any]
    evolve: Callable[[Any, RecordedEvent], Any]
    nothing: Any
    """Its state before the first event."""
    consumes: tuple[type[Event], ...]


class Entry(NamedTuple):
    """A row of an event log."""

    recorded: RecordedEvent
    entity_id: str
    version: int
    is_sent: bool
    refusal: str | None
    """Why the broker refuses it for good."""


class DeadLetter(NamedTuple):
    """An event that was given up and kept."""

    event_id: str
    event_type: str | None
    key: str | None
    status: str
    error: str


class TaskRow(NamedTuple):
    """A task that waits for its time."""

    kind: str
    key: str
    due_at: datetime
    attempts: int
    last_error: str | None
    correlation_id: str


class ServiceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one service knows, at one moment."""

    definition: ServiceDefinition
    log: tuple[Entry, ...]
    tail: tuple[RecordedEvent, ...] = ()
    """What its log gained after that moment."""
    inbox: Mapping[str, datetime]
    """The ids of events heard, and when, in the order of hearing."""
    dead_letters: tuple[DeadLetter, ...]
    tasks: tuple[TaskRow, ...]
    state: Any

    @property
    def name(self) -> str:
        """The service's name."""
        return self.definition.name

    @property
    def events(self) -> list[RecordedEvent]:
        """Its own events, in order."""
        return [entry.recorded for entry in self.log]

    @property
    def all_events(self) -> list[RecordedEvent]:
        """These, and what came after the snapshot."""
        return [*self.events, *self.tail]


class CorruptDatabase(Exception):
    """A database can not be read; the message is a sentence for people."""


def read_snapshot(definition: ServiceDefinition, path: Path) -> ServiceSnapshot:
    """One service in one snapshot. Raises CorruptDatabase."""
    with snapshot(path) as connection:
        inspect(connection, path)
        return ServiceSnapshot(
            definition=definition,
            log=tuple(_log(connection, definition.name)),
            inbox=_inbox(connection),
            dead_letters=read_dead_letters(connection),
            tasks=_tasks(connection),
            state=definition.read_all(connection),
        )


def with_tail(service: ServiceSnapshot, path: Path) -> ServiceSnapshot:
    """The service, knowing also what its log has gained since. Raises CorruptDatabase."""
    last = service.log[-1].recorded.position if service.log else 0
    with snapshot(path) as connection:
        tail = tuple(entry.recorded for entry in _log(connection, service.name, after=last))
    return msgspec.structs.replace(service, tail=tail)


@contextmanager
def snapshot(path: Path) -> Iterator[Connection]:
    """A read-only connection that sees one moment of the database. Raises CorruptDatabase for any fault of it."""
    if not path.is_file():
        message = f"{path} does not exist"
        raise CorruptDatabase(message)
    engine = create_engine("sqlite://", creator=lambda: _open(path), poolclass=NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    try:
        with engine.connect() as connection:
            yield connection
    except (DatabaseError, sqlite3.Error) as error:
        reason = getattr(error, "orig", None) or error
        message = f"{path} can not be read: {reason}"
        raise CorruptDatabase(message) from error
    except (msgspec.ValidationError, DecodeError, TypeError, ValueError, KeyError) as error:
        message = f"{path} has a row that makes no sense: {error}"
        raise CorruptDatabase(message) from error
    finally:
        engine.dispose()


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
    )


def inspect(connection: Connection, path: Path) -> None:
    """Ask SQLite whether the file is sound."""
    fault = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if fault != "ok":
        message = f"{path} is damaged: {fault}"
        raise CorruptDatabase(message)
    orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if orphan:
        message = f"{path} is damaged: row {orphan[1]} of {orphan[0]} belongs to no {orphan[2]}"
        raise CorruptDatabase(message)


def _log(connection: Connection, source: str, after: int = 0) -> Iterator[Entry]:
    query = select(EVENT_LOG).where(EVENT_LOG.c.position > after).order_by(EVENT_LOG.c.position)
    for row in connection.execute(query):
        try:
            recorded = event_log.read(row, source)
        except (DecodeError, msgspec.MsgspecError) as error:
            message = f"event {row.position} ({row.event_type}) can not be decoded: {error}"
            raise ValueError(message) from error
        yield Entry(recorded, row.entity_id, row.version, row.stream_seq is not None, row.refusal)


def _inbox(connection: Connection) -> dict[str, datetime]:
    query = select(INBOX).order_by(INBOX.c.heard_at, literal_column("rowid"))
    return {row.event_id: row.heard_at for row in connection.execute(query)}


def read_dead_letters(connection: Connection) -> tuple[DeadLetter, ...]:
    """What was given up, in that order."""
    columns = [DEAD_LETTER.c[name] for name in DeadLetter._fields]
    query = select(*columns).order_by(DEAD_LETTER.c.dead_letter_id)
    return tuple(DeadLetter(*row) for row in connection.execute(query))


def _tasks(connection: Connection) -> tuple[TaskRow, ...]:
    columns = [TASK.c[name] for name in TaskRow._fields]
    return tuple(TaskRow(*row) for row in connection.execute(select(*columns)))


DEFINITIONS = (
    ServiceDefinition(
        "order",
        order_service.store.STORE.read_all,
        order_service.domain.evolve,
        order_service.domain.OrderState(),
        order_service.CONSUMES,
    ),
    ServiceDefinition(
        "inventory",
        inventory_service.store.STORE.read_all,
        inventory_service.domain.evolve,
        inventory_service.domain.InventoryState(),
        inventory_service.CONSUMES,
    ),
    ServiceDefinition(
        "shipping",
        shipping_service.store.STORE.read_all,
        shipping_service.domain.evolve,
        shipping_service.domain.ShippingState(),
        shipping_service.CONSUMES,
    ),
    ServiceDefinition(
        "notifier",
        notifier_service.store.STORE.read_all,
        notifier_service.domain.evolve,
        notifier_service.domain.NotifierState(),
        notifier_service.CONSUMES,
    ),
)
