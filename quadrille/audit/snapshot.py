"""The databases of the services, read without writing while the services run or not.

Each database is read in one snapshot, and afterwards every log once more: a service may have handled an event that was
recorded after the snapshot of its publisher.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import URL, Connection, create_engine, event, select
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
from shared.chassis.errors import FatalError
from shared.chassis.messages.catalog import DecodeError
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import database_identity, derived_state, event_log, inbox
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.chassis.storage.entity_store import EntityStore
from shared.chassis.storage.event_log import EVENT_LOG
from shared.chassis.storage.task_queue import TASK
from shared.contracts import CATALOG

BUSY_TIMEOUT_SECONDS = 5

State = TypeVar("State", bound=msgspec.Struct)


class ServiceDefinition(NamedTuple, Generic[State]):
    """How to read the database of a service that has an event log, and how to fold its events."""

    name: str
    initial: State
    """The state before the first event."""
    evolve: Callable[[State, RecordedEvent], State]
    store: EntityStore[State]
    consumes: tuple[type[Event], ...]


class LogRow(NamedTuple):
    """A row of an event log."""

    recorded: RecordedEvent
    entity_id: str
    version: int
    is_published: bool
    refusal: str | None
    """Why the broker refuses it permanently."""
    is_resent: bool = False
    """Whether it was published before, or was to be."""


class DeadLetterRow(NamedTuple):
    """A message that could not be handled and is kept; the fields are columns."""

    event_id: str
    event_type: str | None
    entity_id: str | None
    status: str
    error: str


class TaskRow(NamedTuple):
    """A task that is not done yet; the fields are columns."""

    kind: str
    task_key: str
    due_at: datetime
    attempts: int
    last_error: str | None
    correlation_id: str


class ServiceSnapshot(msgspec.Struct, Generic[State], frozen=True, kw_only=True):
    """The database of one service at one moment."""

    definition: ServiceDefinition[State]
    log: tuple[LogRow, ...]
    tail: tuple[RecordedEvent, ...] = ()
    """The events recorded after that moment."""
    inbox: Mapping[str, datetime]
    """When each event was handled, by event id and in this order."""
    dead_letters: tuple[DeadLetterRow, ...]
    tasks: tuple[TaskRow, ...]
    state: State

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def events(self) -> list[RecordedEvent]:
        """Its own events, in order."""
        return [row.recorded for row in self.log]

    @property
    def all_events(self) -> list[RecordedEvent]:
        """With those recorded after the snapshot."""
        return [*self.events, *self.tail]


class CorruptDatabase(Exception):
    """A database cannot be read; the message is one sentence."""


def read_snapshot(definition: ServiceDefinition[State], path: Path) -> ServiceSnapshot[State]:
    """Raises CorruptDatabase."""
    with open_snapshot(path) as connection:
        raise_if_unusable(connection, path, definition.name)
        return ServiceSnapshot(
            definition=definition,
            log=tuple(_log(connection, definition.name)),
            inbox=inbox.read_all(connection),
            dead_letters=read_dead_letters(connection),
            tasks=_tasks(connection),
            state=definition.store.read_all(connection),
        )


def with_tail(service: ServiceSnapshot[State], path: Path) -> ServiceSnapshot[State]:
    """The snapshot with the events recorded since. Raises CorruptDatabase."""
    last = service.log[-1].recorded.position if service.log else 0
    with open_snapshot(path) as connection:
        tail = tuple(row.recorded for row in _log(connection, service.name, after=last))
    return msgspec.structs.replace(service, tail=tail)


@contextmanager
def open_snapshot(path: Path) -> Iterator[Connection]:
    """A read-only connection that sees the database at one moment. Raises CorruptDatabase for any error in it."""
    if not path.is_file():
        message = f"{path} does not exist"
        raise CorruptDatabase(message)
    url = URL.create("sqlite", database=str(path))  # named in messages; `creator` opens the file
    engine = create_engine(url, creator=lambda: _open(path), poolclass=NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    try:
        with engine.connect() as connection:
            yield connection
    except (DatabaseError, sqlite3.Error) as error:
        reason = getattr(error, "orig", None) or error
        message = f"{path} cannot be read: {reason}"
        raise CorruptDatabase(message) from error
    except FatalError as error:
        raise CorruptDatabase(str(error)) from error
    except (msgspec.ValidationError, DecodeError, TypeError, ValueError, KeyError) as error:
        message = f"{path} has an invalid row: {error}"
        raise CorruptDatabase(message) from error
    finally:
        engine.dispose()


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        timeout=BUSY_TIMEOUT_SECONDS,
    )


def raise_if_unusable(connection: Connection, path: Path, service: str) -> None:
    """Damaged pages, another release or service, rows without their parent. Raises CorruptDatabase, FatalError."""
    fault = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if fault != "ok":
        message = f"{path} is damaged: {fault}"
        raise CorruptDatabase(message)
    if database_identity.is_new(connection):
        message = f"{path} has no tables: start the {service} service once"
        raise CorruptDatabase(message)
    database_identity.claim_current(connection, service)
    progress = derived_state.read(connection)
    if progress and not progress.is_complete:
        message = (
            f"{path} is being rebuilt: start the {service} service, and wait until it is ready"
        )
        raise CorruptDatabase(message)
    orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if orphan:
        message = f"{path} is damaged: row {orphan[1]} of {orphan[0]} has no row in {orphan[2]}"
        raise CorruptDatabase(message)


def _log(connection: Connection, source: str, after: int = 0) -> Iterator[LogRow]:
    query = select(EVENT_LOG).where(EVENT_LOG.c.position > after).order_by(EVENT_LOG.c.position)
    for row in connection.execute(query):
        try:
            recorded = event_log.read(row, source, CATALOG)
        except (DecodeError, msgspec.MsgspecError) as error:
            message = f"event {row.position} ({row.event_type}) cannot be decoded: {error}"
            raise ValueError(message) from error
        yield LogRow(
            recorded,
            row.entity_id,
            row.version,
            is_published=row.stream_seq is not None,
            refusal=row.refusal,
            is_resent=row.resends > 0,
        )


def read_dead_letters(connection: Connection) -> tuple[DeadLetterRow, ...]:
    """Oldest first."""
    columns = [DEAD_LETTER.c[name] for name in DeadLetterRow._fields]
    query = select(*columns).order_by(DEAD_LETTER.c.dead_letter_id)
    return tuple(DeadLetterRow(*row) for row in connection.execute(query))


def _tasks(connection: Connection) -> tuple[TaskRow, ...]:
    columns = [TASK.c[name] for name in TaskRow._fields]
    return tuple(TaskRow(*row) for row in connection.execute(select(*columns)))


DEFINITIONS: tuple[ServiceDefinition[Any], ...] = (
    ServiceDefinition(
        "order",
        order_service.domain.OrderState(),
        order_service.domain.evolve,
        order_service.store.STORE,
        order_service.CONSUMES,
    ),
    ServiceDefinition(
        "inventory",
        inventory_service.domain.InventoryState(),
        inventory_service.domain.evolve,
        inventory_service.store.STORE,
        inventory_service.CONSUMES,
    ),
    ServiceDefinition(
        "shipping",
        shipping_service.domain.ShippingState(),
        shipping_service.domain.evolve,
        shipping_service.store.STORE,
        shipping_service.CONSUMES,
    ),
    ServiceDefinition(
        "notifier",
        notifier_service.domain.NotifierState(),
        notifier_service.domain.evolve,
        notifier_service.store.STORE,
        notifier_service.CONSUMES,
    ),
)
