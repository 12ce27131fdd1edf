"""One transaction's worth of work: hear, load, decide, evolve, and write everything down together."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from shared.chassis.engine.rules import rules
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.http import signing_keys
from shared.chassis.messages import clock
from shared.chassis.messages.recorded_event import EventTooLarge, RecordedEvent, check
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.schedule import Change
from shared.chassis.messages.touches import References
from shared.chassis.messages.tracing import child_of
from shared.chassis.storage import dead_letters, event_log, idempotency, inbox, task_queue
from shared.chassis.storage.dead_letters import DeadLetter, MalformedMessage, Status
from shared.chassis.storage.idempotency import IdempotencyKey, Reply, StoredResponse
from shared.chassis.storage.task_queue import Task
from shared.contracts import Event, EventDeadLettered

Message = RecordedEvent | MalformedMessage


class CommandEnvelope(NamedTuple):
    """A command to carry out."""

    command: Any
    answer: Callable[[Any], Reply] | None = None
    """Makes the caller's answer of the state right after the command."""
    claim: IdempotencyKey | None = None
    finishes: Task | None = None
    """The task whose result this is; done in the same transaction. Nothing happens if it was dropped or scheduled anew."""
    traceparent: str | None = None
    also: Callable[[Connection], None] | None = None
    """What else to write, in the same transaction, unless it is refused or answered from before."""


class Outcome(NamedTuple):
    """What a committed batch has done."""

    events: list[RecordedEvent]
    answers: list[Reply | Rejected | None]
    """One for each wish, in order."""
    position: int
    """The log's end."""
    earliest_task: datetime | None


def process_batch(
    connection: Connection,
    source: str,
    logic: ServiceLogic[Any, Any],
    messages: Sequence[Message],
    wishes: Sequence[CommandEnvelope],
    *,
    poison: str | None = None,
) -> Outcome:
    """Do all of it in the caller's transaction, or raise and leave the transaction to be rolled back.

    Raises RuleFailed for the fault of a message or command; anything else says nothing about them.
    `poison` says that the one message in hand has failed before, and how: it is given up instead.
    """
    started_at = clock.now()
    fresh = _not_heard_before(connection, messages)
    heard = [message for message in fresh if isinstance(message, RecordedEvent)]
    parked = dead_letters.parked_keys(connection, list({event.key for event in heard}))
    kept = idempotency.kept(connection, [wish.claim for wish in wishes if wish.claim])
    subscriptions = {reaction.event_type: reaction for reaction in logic.subscriptions}
    to_decide = [event for event in heard if event.key not in parked and poison is None]
    with rules():
        commands = {
            event.event_id: command_for(event)
            for event in to_decide
            if (command_for := subscriptions[type(event.event)].command_for)
        }
    before = logic.store.load(connection, _references(to_decide, commands, wishes))
    work = UnitOfWork(source, logic, before, event_log.last_position(connection), started_at)
    finished = [wish.finishes.task_id for wish in wishes if wish.finishes]
    work.present_tasks = task_queue.present(connection, finished)
    for message in fresh:
        if isinstance(message, MalformedMessage):
            work.give_up(dead_letters.unreadable(message), cause=None)
        elif poison is not None:
            work.give_up(dead_letters.given_up(message, Status.PARKED, poison), message)
        elif message.key in parked:
            work.letters.append(dead_letters.given_up(message, Status.WAITING, "its key is parked"))
        else:
            work.handle(message, commands.get(message.event_id))
    answers = [work.execute(wish, kept) for wish in wishes]

    logic.store.save(connection, before, work.state)
    for also in work.besides:
        with rules():
            also(connection)
    signing_keys.keep(connection, source, heard, work.events)
    event_log.append(connection, work.events)
    inbox.mark_processed(connection, [message.event_id for message in fresh], started_at)
    dead_letters.keep(connection, work.letters, started_at)
    task_queue.finish(connection, finished)
    earliest_task = task_queue.apply(connection, work.changes, started_at)
    idempotency.keep(connection, work.replies, started_at)
    return Outcome(work.events, answers, work.position, earliest_task)


class UnitOfWork:
    """What the batch has decided so far; nothing of it is written yet."""

    def __init__(
        self,
        source: str,
        logic: ServiceLogic[Any, Any],
        state: object,
        position: int,
        started_at: datetime,
    ) -> None:
        self.source = source
        self.logic = logic
        self.state = state
        self.position = position
        self.started_at = started_at
        self.events: list[RecordedEvent] = []
        self.letters: list[DeadLetter] = []
        self.changes: list[tuple[Change, RecordedEvent]] = []
        self.replies: list[tuple[IdempotencyKey, Reply]] = []
        self.besides: list[Callable[[Connection], None]] = []
        self.changed_tasks: set[tuple[str, str]] = set()
        self.present_tasks: set[str] = set()
        """Ids of those tasks that the batch finishes and that still exist."""

    def handle(self, heard: RecordedEvent, command: object | None) -> None:
        """Remember a foreign event, and do what it makes us do. Raises RuleFailed."""
        with rules():
            self._evolve(heard)
            if command is not None:
                events = self.logic.decider.decide(self.state, command)
                self._record(events, heard.event_id, heard.correlation_id, heard.traceparent)

    def execute(
        self, wish: CommandEnvelope, kept: dict[str, StoredResponse]
    ) -> Reply | Rejected | None:
        """Carry out one command; a refusal concerns its own caller only. Raises RuleFailed."""
        if wish.claim and (before := kept.get(wish.claim.name)):
            return _replay(wish.claim, before)
        if wish.finishes and self._is_overtaken(wish.finishes):
            return None
        with rules():
            try:
                self._carry_out(wish)
            except Rejected as refused:
                return refused
            except EventTooLarge as too_large:
                return Rejected("event-too-large", str(too_large), status=413)
            if wish.also:
                self.besides.append(wish.also)
            if wish.answer is None:
                return None
            reply = wish.answer(self.state)
        if wish.claim:
            self.replies.append((wish.claim, reply))
            kept[wish.claim.name] = StoredResponse(
                fingerprint=wish.claim.fingerprint,
                reply=msgspec.structs.replace(reply, replayed=True),
            )
        return reply

    def _carry_out(self, wish: CommandEnvelope) -> None:
        events = self.logic.decider.decide(self.state, wish.command)
        if cause := wish.finishes:
            self._record(events, cause.causation_id, cause.correlation_id, cause.traceparent)
        else:
            self._record(events, None, None, wish.traceparent)

    def _is_overtaken(self, finished: Task) -> bool:
        """Whether the task was dropped or scheduled anew, before this batch or in it."""
        is_changed = (finished.kind, finished.key) in self.changed_tasks
        return is_changed or finished.task_id not in self.present_tasks

    def give_up(self, letter: DeadLetter, cause: RecordedEvent | None) -> None:
        """Keep a message that cannot be handled, and publish that. Raises RuleFailed."""
        self.letters.append(letter)
        key = letter.key or _claimed_key(letter.subject)
        dead_lettered = EventDeadLettered(
            event_id=letter.event_id, event_type=letter.event_type, key=key, error=letter.error
        )
        with rules():
            if cause:
                trace = cause.event_id, cause.correlation_id, cause.traceparent
                self._record([dead_lettered], *trace)
            else:
                self._record([dead_lettered], None, key, None)

    def _record(
        self,
        events: Sequence[Event],
        causation_id: str | None,
        correlation_id: str | None,
        traceparent: str | None,
    ) -> None:
        """Take them into the log, all or none; without a correlation id each is about its own entity."""
        fresh = [
            RecordedEvent(
                event_id=clock.new_id(),
                source=self.source,
                position=position,
                event=event,
                recorded_at=self.started_at,
                correlation_id=correlation_id or event.entity_id,
                causation_id=causation_id,
                traceparent=child_of(traceparent),
            )
            for position, event in enumerate(events, self.position + 1)
        ]
        for recorded in fresh:
            check(recorded)
        for recorded in fresh:
            self.position = recorded.position
            self.events.append(recorded)
            self._evolve(recorded)

    def _evolve(self, recorded: RecordedEvent) -> None:
        self.state = self.logic.decider.evolve(self.state, recorded)
        for change in self.logic.schedule(self.state, recorded):
            self.changes.append((change, recorded))
            self.changed_tasks.add((change.kind, change.key))


def _references(
    events: Sequence[RecordedEvent], commands: Mapping[str, Any], wishes: Sequence[CommandEnvelope]
) -> References:
    """What is to be loaded: an event that leads to a command is about its own entity and what the command touches."""
    references = References()
    for wish in wishes:
        references.add(wish.command)
    for recorded in events:
        if command := commands.get(recorded.event_id):
            references.add_field(recorded.event, recorded.event.ENTITY)
            references.add(command)
        else:
            references.add(recorded.event)
    return references


def _not_heard_before(connection: Connection, messages: Sequence[Message]) -> list[Message]:
    once = {message.event_id: message for message in messages}
    seen = inbox.processed(connection, list(once))
    return [message for event_id, message in once.items() if event_id not in seen]


def _replay(claim: IdempotencyKey, before: StoredResponse) -> Reply | Rejected:
    if claim.fingerprint == before.fingerprint:
        return before.reply
    return Rejected(
        "idempotency-key-reused",
        f"Idempotency-Key {claim.key!r} was used for another request",
        status=422,
    )


def _claimed_key(subject: str) -> str:
    tokens = subject.split(".")
    key = tokens[2] if len(tokens) > 2 else ""  # noqa: PLR2004 - shop.<source>.<key>.<type>
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) else "unknown"
