"""Rows that follow from events alone: each source's events applied in order, each once.

An event that a projection cannot apply becomes a dead letter and parks its entity: the later events of the same source
and entity are kept with it, and no other entity waits. The archive contains all of them. To recover, correct the
projection and redrive its letters, or raise its version: the rebuild tries the kept events again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection

from shared.chassis.engine.inbound import Attempt, Failures, handle_in_order, redrive_in_order
from shared.chassis.engine.redrive import (
    EntityChange,
    Redriven,
    Trial,
    changes_of,
    events_of,
    late_events,
    receive_again,
)
from shared.chassis.engine.rules import RuleFailed, rules
from shared.chassis.engine.service_logic import RecordHook
from shared.chassis.engine.unit_of_work import CommandEnvelope, Outcome
from shared.chassis.engine.writer import Writer
from shared.chassis.messages import clock
from shared.chassis.messages.event import Event
from shared.chassis.messages.received import MalformedMessage, Message, UnsupportedEvent
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.touches import References
from shared.chassis.storage import dead_letters
from shared.chassis.storage.checkpoints import Checkpoints, Divergence, Progress
from shared.chassis.storage.database import Database
from shared.chassis.storage.dead_letters import DeadLetter, StoredLetter
from shared.chassis.storage.entity_store import EntityStore
from shared.chassis.storage.redrives import ItemOutcome

State = TypeVar("State", bound=msgspec.Struct)

log = structlog.get_logger()


class NotApplied(Exception):
    """Another event was applied at its position, or none yet."""

    def __str__(self) -> str:
        return str(self.__doc__)


class Projection(NamedTuple, Generic[State]):
    """Some tables, and the events of one source that they follow from."""

    initial: State
    consumes: tuple[type[Event], ...]
    evolve: Callable[[State, RecordedEvent], State]
    store: EntityStore[State]


class Projections:
    """Some projections, which apply the same events."""

    def __init__(self, projections: Sequence[Projection[Any]]) -> None:
        self._projections = projections
        self._numbers: dict[type[Event], list[int]] = defaultdict(list)
        """The projections that consume a type of event."""
        for number, projection in enumerate(projections):
            for event_type in projection.consumes:
                self._numbers[event_type].append(number)

    def load(self, connection: Connection, events: Sequence[RecordedEvent]) -> "_ProjectionWork":
        """The states that these events touch."""
        return _ProjectionWork(connection, self._projections, self._numbers, events)

    def apply(
        self,
        connection: Connection,
        events: Sequence[RecordedEvent],
        messages: Sequence[Message],
    ) -> tuple["_ProjectionWork", Failures]:
        """Apply the messages in their order; `events` are those of them that were decoded."""
        entity_ids = {m.entity_id for m in messages if not isinstance(m, MalformedMessage)}
        blocked = dead_letters.blocked(connection, entity_ids)
        work = self.load(connection, events)
        failures = handle_in_order(
            [message for message in messages if message.event_id not in blocked.discarded],
            parked=blocked.parked,
            entity_of=_entity_of,
            handle=work.handle,
            dead_letter=work.dead_letter,
        )
        work.flush(connection)
        return work, failures

    def replay(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Apply events of the archive to tables that are rebuilt."""
        self.apply(connection, events, events)


class Projector:
    """Applies events to projections through a writer of its own."""

    by_source = True

    def __init__(
        self,
        database: Database,
        projections: Sequence[Projection[Any]],
        checkpoints: Checkpoints,
        *,
        hooks: Sequence[RecordHook] = (),
        on_applied: Callable[[Sequence[RecordedEvent]], None],
    ) -> None:
        """`on_applied` is called with the applied events when they are durable, and once at the start."""
        self.writer: Writer[Any, Any] = Writer(database, self._process, on_commit=self._announce)
        self._database = database
        self._projections = Projections(projections)
        self._checkpoints = checkpoints
        self.catalog = checkpoints.catalog
        self._hooks = hooks
        self._on_applied = on_applied
        self.positions: dict[str, int] = {}
        """The last position of each source that queries see."""
        self.missing: dict[str, int] = {}
        self.divergences: list[Divergence] = []
        self.lags: dict[str, timedelta] = {}
        """The age of each source's newest event when it became visible; of events since the start."""

    @property
    def first_divergences(self) -> dict[str, int]:
        """The first position of each source at which its log diverges."""
        positions: dict[str, int] = {}
        for divergence in self.divergences:
            positions.setdefault(divergence.source, divergence.position)
        return positions

    def waiting_for(self) -> list[str]:
        """What keeps the projections from being complete, as phrases."""
        missing = [
            f"event {position} of {source}, which later ones wait for"
            for source, position in self.missing.items()
        ]
        return missing + _divergence_reasons(self.divergences, self.positions)

    async def resume(self) -> None:
        """Read how far the sources were applied."""
        self._note(await self._database.run(self._progress))
        self._on_applied([])

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Apply the events durably, each once. Raises StorageUnavailable: deliver them again later."""
        await self.writer.handle(messages)

    async def forget(self, source: str, position: int, event_id: str) -> bool:
        """Delete a held event; whether there was one. Raises StorageUnavailable."""

        def forget(connection: Connection) -> tuple[bool, Progress]:
            was_held = self._checkpoints.forget(connection, source, position, event_id)
            return was_held, self._progress(connection)

        was_held, progress = await self.writer.run_in_transaction(forget)
        if was_held:
            log.warning("event.forgotten", source=source, position=position, event_id=event_id)
        self._note(progress)
        return was_held

    def redrive(self, connection: Connection, letters: Sequence[StoredLetter]) -> Redriven:
        """Apply the letters' events up to the first that fails; those that could not be read are archived too."""
        work, attempts = self._attempt(connection, letters)
        work.flush(connection)
        handled = [a.message for a in attempts if a.outcome is ItemOutcome.HANDLED]
        applied = [message for message in handled if isinstance(message, RecordedEvent)]
        for hook in self._hooks:
            hook(connection, applied, ())
        places = [(event.source, event.position) for event in applied]
        self._checkpoints.note_archived(connection, places)
        return Redriven(attempts, Outcome(consumed=applied, dead_letters=(), failures={}))

    def attempt(self, connection: Connection, letters: Sequence[StoredLetter]) -> Trial:
        """What a redrive would change; the service publishes nothing."""
        work, attempts = self._attempt(connection, letters)
        return Trial(attempts, {}, list(work.changes()))

    def discard(self, _connection: Connection, _letter: StoredLetter, _reason: str) -> Outcome:
        """Without a log, the letter itself is the record."""
        return Outcome(consumed=(), dead_letters=(), failures={})

    def _attempt(
        self, connection: Connection, letters: Sequence[StoredLetter]
    ) -> tuple["_ProjectionWork", list[Attempt]]:
        received = receive_again(letters, self.catalog)
        work = self._projections.load(connection, events_of(received))
        late = late_events(received)
        places = {event.event_id: (event.source, event.position) for event in late}
        ids = self._checkpoints.applied_ids(connection, places.values())
        entity_ids = {event.entity_id for event in late}
        parked = dead_letters.blocked(connection, entity_ids).parked

        def handle(letter: StoredLetter, recorded: RecordedEvent) -> ItemOutcome:
            if letter.entity_id is None:
                if ids.get(places[recorded.event_id]) != recorded.event_id:
                    raise RuleFailed(NotApplied())
                if _entity_of(recorded) in parked:
                    return ItemOutcome.WAITING
            work.handle(recorded)
            return ItemOutcome.HANDLED

        return work, redrive_in_order(received, handle)

    def _process(
        self,
        connection: Connection,
        messages: Sequence[Message],
        _envelopes: Sequence[CommandEnvelope[Any, Any]],
    ) -> Outcome:
        applied = self._checkpoints.load(connection)
        ready = self._checkpoints.take(connection, applied, messages)
        events = [event.message for event in ready if isinstance(event.message, RecordedEvent)]
        readable = [e.message for e in ready if not isinstance(e.message, MalformedMessage)]
        malformed = [message for message in messages if isinstance(message, MalformedMessage)]
        new: list[Message] = [*readable, *dead_letters.not_kept(connection, malformed)]
        work, failures = self._projections.apply(connection, events, new)
        for hook in self._hooks:
            hook(connection, events, ())
        self._checkpoints.save(connection, applied)
        progress = self._checkpoints.progress(connection, applied)
        return Outcome(
            consumed=events, dead_letters=work.dead_letters, failures=failures, progress=progress
        )

    def _progress(self, connection: Connection) -> Progress:
        return self._checkpoints.progress(connection, self._checkpoints.load(connection))

    def _announce(self, outcome: Outcome) -> None:
        if outcome.progress:  # a redrive has none
            self._note(outcome.progress)
            now = clock.now()
            self.lags |= {event.source: now - event.recorded_at for event in outcome.consumed}
        self._on_applied(outcome.consumed)
        log.debug("events.applied", events=len(outcome.consumed))

    def _note(self, progress: Progress) -> None:
        if progress.missing != self.missing:
            log.warning("events.missing", **progress.missing)
        for divergence in progress.divergences:
            if divergence not in self.divergences:
                log.error("event.diverged", **divergence._asdict())
        self.positions, self.missing, self.divergences = progress


class _ProjectionWork:
    """The states of the projections that a transaction changes; nothing is written before `flush`."""

    def __init__(
        self,
        connection: Connection,
        projections: Sequence[Projection[Any]],
        numbers: Mapping[type[Event], Sequence[int]],
        events: Sequence[RecordedEvent],
    ) -> None:
        self.dead_letters: list[DeadLetter] = []
        self._projections = projections
        self._numbers = numbers
        references: dict[int, References] = defaultdict(References)
        for recorded in events:
            for number in numbers.get(type(recorded.event), ()):
                references[number].add(recorded.event)
        self._before = {
            number: projections[number].store.load(connection, touched)
            for number, touched in references.items()
        }
        self._states = dict(self._before)

    def handle(self, recorded: RecordedEvent) -> None:
        """Evolve all projections that consume the event, or none. Raises RuleFailed."""
        with rules():
            self._states |= {
                number: self._projections[number].evolve(self._states[number], recorded)
                for number in self._numbers.get(type(recorded.event), ())
            }

    def dead_letter(self, letter: DeadLetter, _cause: object) -> None:
        self.dead_letters.append(letter)

    def changes(self) -> Iterator[EntityChange]:
        """What differs from the database."""
        for number, before in self._before.items():
            yield from changes_of(before, self._states[number])

    def flush(self, connection: Connection) -> None:
        for number, before in self._before.items():
            self._projections[number].store.save(connection, before, self._states[number])
        dead_letters.keep(connection, self.dead_letters, clock.now())


def _divergence_reasons(divergences: Iterable[Divergence], applied: Mapping[str, int]) -> list[str]:
    """One phrase for each source."""
    reasons = []
    for source, of_source in groupby(divergences, attrgetter("source")):
        first, *others = of_source
        if first.applied_event_id:
            reason = f"event {first.applied_event_id} was applied, event {first.event_id} is held"
        else:
            ahead = first.position - applied.get(source, 0)
            reason = f"event {first.event_id} is {ahead} positions ahead and held"
        more = "; so do others" if others else ""
        reasons.append(f"{source}'s log diverges at position {first.position}: {reason}{more}")
    return reasons


def _entity_of(event: RecordedEvent | UnsupportedEvent) -> tuple[str, str]:
    """Sources have rows of their own, so that one's events do not wait for another's parked entity."""
    return event.source, event.entity_id
