"""The redrive of an entity's dead letters: through the same unit of work as any event, in order, or only to try it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from sqlalchemy import Connection

from shared.chassis.engine.inbound import Attempt, redrive_in_order
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.engine.unit_of_work import Outcome, UnitOfWork
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.received import MalformedMessage, Message, receive
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import dead_letters, inbox
from shared.chassis.storage.dead_letters import Status, StoredLetter
from shared.chassis.storage.redrives import ItemOutcome

State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")

Letters = list[tuple[StoredLetter, Message]]


class EntityChange(NamedTuple):
    """How an entity's state would change: only the fields that differ, unless it is new or deleted."""

    kind: str
    """The field of the state: `orders`."""
    entity_id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class Trial(NamedTuple):
    """What a redrive would do."""

    attempts: Sequence[Attempt]
    events: Mapping[str, Sequence[RecordedEvent]]
    """What it would record, by the id of the letter's event."""
    changes: Sequence[EntityChange]


class Redriven(NamedTuple):
    """What a redrive has done, when its transaction is committed."""

    attempts: Sequence[Attempt]
    outcome: Outcome


class Redriving(Protocol):
    """How a service handles its dead letters, all of one entity, in the order of these."""

    by_source: bool
    """Whether the events of an entity are parked by each source for itself."""
    catalog: Catalog

    def redrive(self, connection: Connection, letters: Sequence[StoredLetter]) -> Redriven:
        """Handle the letters up to the first that fails. The letters themselves stay as they are."""
        ...

    def attempt(self, connection: Connection, letters: Sequence[StoredLetter]) -> Trial:
        """The same without writing anything."""
        ...

    def discard(self, connection: Connection, letter: StoredLetter, reason: str) -> Outcome:
        """Record that the letter is never handled. The letter itself stays as it is."""
        ...


class DecidingRedrive(Generic[State, Command]):
    """That of a service that decides: redrives, failures and discards are events of its log."""

    by_source = False

    def __init__(self, source: str, logic: ServiceLogic[State, Command], catalog: Catalog) -> None:
        self.catalog = catalog
        self._source = source
        self._logic = logic

    def redrive(self, connection: Connection, letters: Sequence[StoredLetter]) -> Redriven:
        work, attempts, _ = self._attempt(connection, letters)
        for attempt in attempts:
            if attempt.letter.status is Status.WAITING and attempt.outcome in {
                ItemOutcome.FAILED,
                ItemOutcome.AWAITING_UPGRADE,
            }:
                _announce(work, attempt)
        outcome = work.flush(connection)
        inbox.forget(connection, [a.letter.event_id for a in attempts if _is_settled_stranger(a)])
        return Redriven(attempts, outcome)

    def attempt(self, connection: Connection, letters: Sequence[StoredLetter]) -> Trial:
        work, attempts, events = self._attempt(connection, letters)
        return Trial(attempts, events, list(changes_of(*work.changes_of_state)))

    def discard(self, connection: Connection, letter: StoredLetter, reason: str) -> Outcome:
        work = self._load(connection, [])
        message = receive(letter.subject, letter.body, self.catalog)
        cause = None if isinstance(message, MalformedMessage) else message
        work.discard(letter, reason, cause)
        return work.flush(connection)

    def _load(
        self, connection: Connection, events: Sequence[RecordedEvent]
    ) -> UnitOfWork[State, Command]:
        return UnitOfWork.load_for_redrive(connection, self._source, self._logic, events)

    def _attempt(
        self, connection: Connection, letters: Sequence[StoredLetter]
    ) -> tuple[UnitOfWork[State, Command], list[Attempt], dict[str, Sequence[RecordedEvent]]]:
        received = receive_again(letters, self.catalog)
        work = self._load(connection, events_of(received))
        late = late_events(received)
        processed = inbox.processed(connection, [event.event_id for event in late])
        parked = dead_letters.blocked(connection, {event.entity_id for event in late}).parked
        parked_ids = {entity_id for _, entity_id in parked}
        recorded_events: dict[str, Sequence[RecordedEvent]] = {}

        def handle(letter: StoredLetter, recorded: RecordedEvent) -> ItemOutcome:
            is_duplicate = recorded.event_id in processed
            if not is_duplicate and recorded.entity_id in parked_ids:
                return ItemOutcome.WAITING
            end = len(work.events)
            work.redrive(letter, recorded, is_duplicate=is_duplicate)
            recorded_events[letter.event_id] = work.events[end:]
            return ItemOutcome.DUPLICATE if is_duplicate else ItemOutcome.HANDLED

        return work, redrive_in_order(received, handle), recorded_events


def receive_again(letters: Sequence[StoredLetter], catalog: Catalog) -> Letters:
    """Each letter as this release reads it."""
    return [(letter, receive(letter.subject, letter.body, catalog)) for letter in letters]


def events_of(letters: Letters) -> list[RecordedEvent]:
    return [message for _, message in letters if isinstance(message, RecordedEvent)]


def late_events(letters: Letters) -> list[RecordedEvent]:
    """Those that could not be read when they were received: meanwhile the true event may have been handled."""
    return [
        message
        for letter, message in letters
        if isinstance(message, RecordedEvent) and letter.entity_id is None
    ]


def changes_of(before: msgspec.Struct, after: msgspec.Struct) -> Iterator[EntityChange]:
    """The entities in which two states differ."""
    for kind in before.__struct_fields__:
        old, new = getattr(before, kind), getattr(after, kind)
        for entity_id in sorted({*old, *new}):
            if old.get(entity_id) != new.get(entity_id):
                yield _change(kind, entity_id, old.get(entity_id), new.get(entity_id))


def _change(
    kind: str, entity_id: str, before: msgspec.Struct | None, after: msgspec.Struct | None
) -> EntityChange:
    old, new = _fields(before), _fields(after)
    if old and new:
        names = [name for name in new if old.get(name) != new[name]]
        old, new = {name: old.get(name) for name in names}, {name: new[name] for name in names}
    return EntityChange(kind, entity_id, old, new)


def _fields(entity: msgspec.Struct | None) -> dict[str, Any] | None:
    if entity is None:
        return None
    fields: dict[str, Any] = msgspec.to_builtins(msgspec.structs.asdict(entity))
    return fields


def _announce(work: UnitOfWork[Any, Any], attempt: Attempt) -> None:
    """Its entity is parked by another event now."""
    letter = msgspec.structs.replace(attempt.letter, error=attempt.error or "")
    message = attempt.message
    work.announce(letter, None if isinstance(message, MalformedMessage) else message)


def _is_settled_stranger(attempt: Attempt) -> bool:
    return attempt.is_settled and attempt.letter.event_id != attempt.message.event_id
