"""One transaction's worth of work: load, handle messages, execute commands, flush, outcome."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, Self, TypeVar

import msgspec
from sqlalchemy import Connection

from shared.chassis.engine.inbound import Failures, handle_in_order
from shared.chassis.engine.rules import RuleFailed, raise_as_failure, rules
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.messages import clock
from shared.chassis.messages.cloudevents import EventTooLarge, encode_checked
from shared.chassis.messages.event import Event
from shared.chassis.messages.received import MalformedMessage, Message, UnsupportedEvent
from shared.chassis.messages.recorded_event import RecordedEvent, StoredEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.schedule import Change
from shared.chassis.messages.system_events import EventDeadLettered, EventDiscarded, EventRedriven
from shared.chassis.messages.touches import References
from shared.chassis.messages.tracing import child_of
from shared.chassis.storage import dead_letters, event_log, idempotency, inbox, task_queue
from shared.chassis.storage.checkpoints import Progress
from shared.chassis.storage.dead_letters import DeadLetter, Status
from shared.chassis.storage.idempotency import IdempotencyKey, Reply, StoredResponse
from shared.chassis.storage.task_queue import Task

State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")


class CommandEnvelope(NamedTuple, Generic[State, Command]):
    """A command, and what belongs to it."""

    command: Command
    respond: Callable[[State], Reply] | None = None
    """Makes the caller's response from the state right after the command."""
    idempotency_key: IdempotencyKey | None = None
    completes_task: Task | None = None
    """The task whose result this is; done in the same transaction. Ignored if it was cancelled or rescheduled."""
    traceparent: str | None = None
    actor: str | None = None
    """Who asks for it; recorded with its events."""
    precondition: Callable[[State], None] | None = None
    """Called with the state before the command is decided; raises Rejected."""
    extra_writes: Callable[[Connection], None] | None = None
    """Run in the same transaction, unless the command is rejected or its response was stored before."""
    is_abandoned: Callable[[], bool] | None = None
    """Whether nobody waits for the response any more: then the command is not executed."""


Answer = Reply | Rejected | RuleFailed | None


class Outcome(NamedTuple):
    """What a committed transaction has done."""

    consumed: Sequence[RecordedEvent]
    """Parked ones too."""
    dead_letters: Sequence[DeadLetter]
    failures: Failures
    events: Sequence[RecordedEvent] = ()
    """The service's own events that were recorded."""
    answers: Sequence[Answer] = ()
    """One for each command, in order."""
    position: int = 0
    """The end of the service's own log."""
    earliest_task: datetime | None = None
    progress: Progress | None = None
    """Of a service that applies each source's events in order."""


class _Trace(NamedTuple):
    """What an event inherits from its cause, or from the command of somebody outside."""

    causation_id: str | None = None
    correlation_id: str | None = None
    """Without one, an event correlates with its own entity."""
    traceparent: str | None = None
    actor: str | None = None


class _Savepoint(NamedTuple, Generic[State]):
    """What a unit of work has decided at some point: rolling back to it undoes what a failed rule has decided."""

    state: State
    position: int
    event_count: int
    change_count: int


def process_batch(
    connection: Connection,
    messages: Sequence[Message],
    envelopes: Sequence[CommandEnvelope[State, Command]],
    *,
    source: str,
    logic: ServiceLogic[State, Command],
) -> Outcome:
    """Do all of it in the caller's transaction, or raise and leave the transaction to be rolled back.

    An event or a command whose rule raises changes nothing; the others are not affected.
    """
    work = UnitOfWork.load(connection, source, logic, messages, envelopes)
    work.handle_messages()
    work.execute_commands()
    return work.flush(connection)


class UnitOfWork(Generic[State, Command]):
    """What a transaction has decided so far; nothing of it is written before `flush`."""

    def __init__(
        self,
        source: str,
        logic: ServiceLogic[State, Command],
        state: State,
        position: int,
        started_at: datetime,
    ) -> None:
        self.state = state
        self.position = position
        self.events: list[RecordedEvent] = []
        self._stored_events: list[StoredEvent] = []
        """The same events as they are written and published: each is encoded once."""
        self.dead_letters: list[DeadLetter] = []
        self.changes: list[tuple[Change, RecordedEvent]] = []
        """What is to be scheduled or cancelled, with the event that causes it."""
        self._source = source
        self._logic = logic
        self._started_at = started_at
        self._before = state
        self._messages: list[Message] = []
        self._commands: dict[str, Command | RuleFailed] = {}
        self._envelopes: Sequence[CommandEnvelope[State, Command]] = ()
        self._parked: dict[str, int] = {}
        """The ids of parked entities, whatever the source and position of their events."""
        self._present_tasks: set[str] = set()
        self._changed_tasks: set[tuple[str, str]] = set()
        self._stored: dict[str, StoredResponse] = {}
        self._replies: list[tuple[IdempotencyKey, Reply]] = []
        self._extra_writes: list[Callable[[Connection], None]] = []
        self._answers: list[Answer] = []
        self._failures: Failures = {}
        self._redriven: list[RecordedEvent] = []

    @property
    def changes_of_state(self) -> tuple[State, State]:
        """The state before and after."""
        return self._before, self.state

    @classmethod
    def load(
        cls,
        connection: Connection,
        source: str,
        logic: ServiceLogic[State, Command],
        messages: Sequence[Message],
        envelopes: Sequence[CommandEnvelope[State, Command]],
    ) -> Self:
        """Read what the messages and commands need, in a few queries."""
        started_at = clock.now()
        new = _not_processed(connection, messages)
        entity_ids = {m.entity_id for m in new if not isinstance(m, MalformedMessage)}
        blocked = dead_letters.blocked(connection, entity_ids)
        new = [message for message in new if message.event_id not in blocked.discarded]
        parked = dict.fromkeys((entity_id for _, entity_id in blocked.parked), 0)
        events = [m for m in new if isinstance(m, RecordedEvent) and m.entity_id not in parked]
        commands = logic.commands_for(events)
        state = logic.store.load(connection, _references(events, commands, envelopes))
        work = cls(source, logic, state, event_log.last_position(connection), started_at)
        work._messages = new
        work._commands = commands
        work._envelopes = envelopes
        work._parked = parked
        tasks = [envelope.completes_task for envelope in envelopes]
        work._present_tasks = task_queue.present(connection, [t.task_id for t in tasks if t])
        keys = [envelope.idempotency_key for envelope in envelopes]
        work._stored = idempotency.find_responses(connection, [key for key in keys if key])
        return work

    @classmethod
    def load_for_redrive(
        cls,
        connection: Connection,
        source: str,
        logic: ServiceLogic[State, Command],
        events: Sequence[RecordedEvent],
    ) -> Self:
        """Read what these events need, which are dead letters."""
        started_at = clock.now()
        commands = logic.commands_for(events)
        state = logic.store.load(connection, _references(events, commands, ()))
        work = cls(source, logic, state, event_log.last_position(connection), started_at)
        work._commands = commands
        return work

    def handle_messages(self) -> None:
        """Handle the events in order; one whose rule raises becomes a dead letter and parks its entity."""
        self._failures = handle_in_order(
            self._messages,
            parked=self._parked,
            entity_of=_entity_of,
            handle=self._handle_loaded,
            dead_letter=self.dead_letter,
        )

    def execute_commands(self) -> None:
        """Execute the commands in order; a rejected or failed one changes nothing."""
        for envelope in self._envelopes:
            try:
                self._answers.append(self.execute(envelope))
            except RuleFailed as failed:
                self._answers.append(failed)

    def flush(self, connection: Connection) -> Outcome:
        """Write everything down."""
        self._logic.store.save(connection, self._before, self.state)
        for extra_writes in self._extra_writes:
            with rules():
                extra_writes(connection)
        decoded = [message for message in self._messages if isinstance(message, RecordedEvent)]
        consumed = [*self._redriven, *decoded]
        for hook in self._logic.record_hooks:
            hook(connection, consumed, self.events)
        event_log.append(connection, self._stored_events)
        event_ids = [message.event_id for message in self._messages]
        inbox.mark_processed(connection, event_ids, self._started_at)
        redriven_ids = [recorded.event_id for recorded in self._redriven]
        inbox.mark_processed_again(connection, redriven_ids, self._started_at)
        dead_letters.keep(connection, self.dead_letters, self._started_at)
        # In this order: a task that is done now is not missing.
        earliest_task = task_queue.apply(connection, self.changes, self._started_at)
        task_queue.finish(connection, self._finished_tasks())
        idempotency.store_responses(connection, self._replies, self._started_at)
        return Outcome(
            consumed=consumed,
            dead_letters=self.dead_letters,
            failures=self._failures,
            events=self.events,
            answers=self._answers,
            position=self.position,
            earliest_task=earliest_task,
        )

    def handle(self, recorded: RecordedEvent, command: Command | None) -> None:
        """Evolve the state by a consumed event, and decide the command that it leads to. Raises RuleFailed."""
        savepoint = self._savepoint()
        try:
            self._evolve(recorded)
            if command is not None:
                self._record(self._logic.decider.decide(self.state, command), _effect_of(recorded))
        except Exception as error:  # noqa: BLE001 - a rule may raise anything
            self._roll_back(savepoint)
            raise_as_failure(error)

    def execute(self, envelope: CommandEnvelope[State, Command]) -> Reply | Rejected | None:
        """Execute one command, or repeat the response that was stored under its key. Raises RuleFailed."""
        key = envelope.idempotency_key
        if key and (stored := self._stored.get(key.name)):
            return _replay(key, stored)
        task = envelope.completes_task
        if task and self._is_overtaken(task):
            return None
        trace = _trace_of(envelope)
        savepoint = self._savepoint()
        try:
            if envelope.precondition:
                envelope.precondition(self.state)
            self._record(self._logic.decider.decide(self.state, envelope.command), trace)
            reply = envelope.respond(self.state) if envelope.respond else None
        except Exception as error:  # noqa: BLE001 - a rule may raise anything
            self._roll_back(savepoint)
            if rejected := _rejection_of(error):
                return rejected
            raise_as_failure(error)
        if envelope.extra_writes:
            self._extra_writes.append(envelope.extra_writes)
        if key and reply:
            self._store_reply(key, reply)
        return reply

    def dead_letter(
        self, letter: DeadLetter, cause: RecordedEvent | UnsupportedEvent | None = None
    ) -> None:
        """Keep a message that is not handled, and publish that unless it only waits. Raises RuleFailed."""
        self.dead_letters.append(letter)
        if letter.status is not Status.WAITING:
            self.announce(letter, cause)

    def announce(
        self, letter: DeadLetter, cause: RecordedEvent | UnsupportedEvent | None = None
    ) -> None:
        """Publish that the letter is kept. Raises RuleFailed."""
        dead_lettered = EventDeadLettered(
            event_id=letter.event_id,
            event_type=letter.event_type,
            key=_entity_id_of(letter),
            error=letter.error,
        )
        self._record_about(letter, dead_lettered, cause)

    def redrive(
        self, letter: DeadLetter, recorded: RecordedEvent, *, is_duplicate: bool = False
    ) -> None:
        """Handle a letter's event, unless it was handled from another message. Raises RuleFailed."""
        savepoint = self._savepoint()
        if not is_duplicate:
            self._handle_loaded(recorded)
        redriven = EventRedriven(
            event_id=letter.event_id, event_type=recorded.event_type, key=recorded.entity_id
        )
        self._record_or_roll_back(redriven, _effect_of(recorded), savepoint)
        if not is_duplicate:
            self._redriven.append(recorded)

    def discard(
        self, letter: DeadLetter, reason: str, cause: RecordedEvent | UnsupportedEvent | None
    ) -> None:
        """Publish that the letter is never handled. Raises RuleFailed."""
        discarded = EventDiscarded(
            event_id=letter.event_id,
            event_type=letter.event_type,
            key=_entity_id_of(letter),
            reason=reason,
        )
        self._record_about(letter, discarded, cause)

    def _record_about(
        self, letter: DeadLetter, event: Event, cause: RecordedEvent | UnsupportedEvent | None
    ) -> None:
        trace = _effect_of(cause) if cause else _Trace(correlation_id=_entity_id_of(letter))
        self._record_or_roll_back(event, trace, self._savepoint())

    def _record_or_roll_back(
        self, event: Event, trace: _Trace, savepoint: _Savepoint[State]
    ) -> None:
        """Raises RuleFailed after undoing what was decided since the savepoint."""
        try:
            self._record([event], trace)
        except Exception as error:  # noqa: BLE001 - a rule may raise anything
            self._roll_back(savepoint)
            raise_as_failure(error)

    def _handle_loaded(self, recorded: RecordedEvent) -> None:
        command = self._commands.get(recorded.event_id)
        if isinstance(command, RuleFailed):
            raise command
        self.handle(recorded, command)

    def _savepoint(self) -> _Savepoint[State]:
        return _Savepoint(self.state, self.position, len(self.events), len(self.changes))

    def _roll_back(self, savepoint: _Savepoint[State]) -> None:
        """Undo what was decided since."""
        self.state, self.position = savepoint.state, savepoint.position
        del self.events[savepoint.event_count :], self._stored_events[savepoint.event_count :]
        del self.changes[savepoint.change_count :]
        self._changed_tasks = {
            (change.kind, change.key)
            for change, _ in self.changes
            if not task_queue.replaces_nothing(change)
        }

    def _is_overtaken(self, task: Task) -> bool:
        """Whether the task was cancelled or rescheduled, before this transaction or in it."""
        is_changed = (task.kind, task.task_key) in self._changed_tasks
        return is_changed or task.task_id not in self._present_tasks

    def _finished_tasks(self) -> list[str]:
        """Ids of the completed tasks; the task of a command that failed is left for its task runner."""
        return [
            envelope.completes_task.task_id
            for envelope, answer in zip(self._envelopes, self._answers, strict=True)
            if envelope.completes_task and not isinstance(answer, RuleFailed)
        ]

    def _store_reply(self, key: IdempotencyKey, reply: Reply) -> None:
        self._replies.append((key, reply))
        self._stored[key.name] = StoredResponse(
            fingerprint=key.fingerprint, reply=msgspec.structs.replace(reply, replayed=True)
        )

    def _record(self, events: Sequence[Event], trace: _Trace) -> None:
        """Append the events, all or none."""
        recorded_events = [
            RecordedEvent(
                event_id=clock.new_id(),
                source=self._source,
                position=position,
                event=event,
                recorded_at=self._started_at,
                correlation_id=trace.correlation_id or event.entity_id,
                causation_id=trace.causation_id,
                traceparent=child_of(trace.traceparent),
                actor=trace.actor,
            )
            for position, event in enumerate(events, self.position + 1)
        ]
        stored_events = [encode_checked(recorded) for recorded in recorded_events]
        for recorded, stored in zip(recorded_events, stored_events, strict=True):
            self.position = recorded.position
            self.events.append(recorded)
            self._stored_events.append(stored)
            self._evolve(recorded)

    def _evolve(self, recorded: RecordedEvent) -> None:
        self.state = self._logic.decider.evolve(self.state, recorded)
        for change in self._logic.schedule(self.state, recorded):
            self.changes.append((change, recorded))
            if not task_queue.replaces_nothing(change):
                self._changed_tasks.add((change.kind, change.key))


def _entity_of(event: RecordedEvent | UnsupportedEvent) -> str:
    return event.entity_id


def _not_processed(connection: Connection, messages: Sequence[Message]) -> list[Message]:
    once = {message.event_id: message for message in messages}
    processed = inbox.processed(connection, list(once))
    return [message for event_id, message in once.items() if event_id not in processed]


def _references(
    events: Sequence[RecordedEvent],
    commands: Mapping[str, Any],
    envelopes: Sequence[CommandEnvelope[Any, Any]],
) -> References:
    """An event with a command needs its own entity and what the command touches; one without, all that it touches."""
    references = References()
    for envelope in envelopes:
        references.add(envelope.command)
    for recorded in events:
        command = commands.get(recorded.event_id)
        if isinstance(command, msgspec.Struct):
            references.add_field(recorded.event, recorded.event.ENTITY)
            references.add(command)
        else:
            references.add(recorded.event)
    return references


def _effect_of(cause: RecordedEvent | UnsupportedEvent) -> _Trace:
    return _Trace(cause.event_id, cause.correlation_id, cause.traceparent)


def _trace_of(envelope: CommandEnvelope[Any, Any]) -> _Trace:
    if task := envelope.completes_task:
        return _Trace(task.causation_id, task.correlation_id, task.traceparent, envelope.actor)
    return _Trace(traceparent=envelope.traceparent, actor=envelope.actor)


def _rejection_of(error: Exception) -> Rejected | None:
    """The rejection of a command whose rule raised this; None for a fault of the rule."""
    if isinstance(error, EventTooLarge):
        return Rejected("event-too-large", str(error))
    return error if isinstance(error, Rejected) else None


def _replay(key: IdempotencyKey, stored: StoredResponse) -> Reply | Rejected:
    if key.fingerprint == stored.fingerprint:
        return stored.reply
    return Rejected(
        "idempotency-key-reused",
        f"Idempotency-Key {key.key!r} was used for another request",
    )


def _entity_id_of(letter: DeadLetter) -> str:
    return letter.entity_id or _claimed_entity(letter.subject)


def _claimed_entity(subject: str) -> str:
    tokens = subject.split(".")
    entity_id = tokens[2] if len(tokens) > 2 else ""  # noqa: PLR2004 - shop.<source>.<entity>.<type>
    return entity_id if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", entity_id) else "unknown"
