"""Continues a log that is older than what was published from it, with the service's own published events.

The rules decide nothing again: tables and tasks follow from the events. A consumed event that led to one of them is
applied right before it, as it was then, and marked as processed.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.errors import FatalError
from shared.chassis.messages import clock
from shared.chassis.messages.catalog import Catalog, DecodeError
from shared.chassis.messages.recorded_event import RecordedEvent, StoredEvent
from shared.chassis.messages.schedule import Change
from shared.chassis.messages.system_events import SYSTEM, EventDiscarded, EventRedriven
from shared.chassis.messages.touches import touches
from shared.chassis.storage import dead_letters, event_log, inbox, task_queue
from shared.chassis.storage.dead_letters import DEAD_LETTER

UNKNOWN = "unknown"
"""Who discarded a letter: the event does not name them."""

State = TypeVar("State", bound=msgspec.Struct)


class PastEvent(NamedTuple):
    """An event that this service has published and that its log does not contain."""

    stored: StoredEvent
    stream_seq: int
    """0 if the stream no longer contains it."""
    cause: RecordedEvent | None = None
    """The consumed event that led to it, if it is available."""


class _Step(NamedTuple):
    """An event of the log, and what is to be applied before it."""

    recorded: RecordedEvent
    cause: RecordedEvent | None


class _Applied(NamedTuple, Generic[State]):
    """What the events lead to."""

    state: State
    changes: list[tuple[Change, RecordedEvent]]


def append_past(
    connection: Connection,
    past: Sequence[PastEvent],
    *,
    logic: ServiceLogic[Any, Any],
    catalog: Catalog,
) -> None:
    """Append these events, which continue the log, and apply them. Raises FatalError for events that do not fit."""
    try:
        with connection.begin_nested():
            _append(connection, past, logic, catalog)
    except IntegrityError:  # a unique value moved from one entity to another within the batch
        for event in past:
            _append(connection, [event], logic, catalog)


def _append(
    connection: Connection,
    past: Sequence[PastEvent],
    logic: ServiceLogic[Any, Any],
    catalog: Catalog,
) -> None:
    _settle_letters(connection, past, catalog)
    steps = list(_steps(connection, past, catalog))
    causes = [step.cause for step in steps if step.cause]
    own = [step.recorded for step in steps]
    events = [recorded.event for recorded in (*causes, *own)]
    ids: set[str] = set().union(*touches(*events).values())
    before = logic.store.load_any(connection, ids)
    applied = _apply(before, steps, logic)
    logic.store.save(connection, before, applied.state)
    for hook in logic.record_hooks:
        hook(connection, causes, own)
    sequences = {event.stored.position: event.stream_seq for event in past}
    event_log.append(connection, [event.stored for event in past], sequences)
    for step in steps:
        if step.cause:
            at = step.recorded.recorded_at  # as in the transaction that recorded both
            inbox.mark_processed(connection, [step.cause.event_id], at)
    _update_tasks(connection, own, applied.changes, clock.now())


def _steps(connection: Connection, past: Sequence[PastEvent], catalog: Catalog) -> Iterator[_Step]:
    """Each with its cause if that is still to be applied: it is before the first event that it led to."""
    causes = {event.cause.event_id for event in past if event.cause}
    applied = inbox.processed(connection, list(causes))
    for event in past:
        recorded = _decode(event.stored, catalog)
        cause = event.cause
        # What became a dead letter was not applied; it is received again.
        if cause is None or cause.event_id in applied or isinstance(recorded.event, SYSTEM):
            yield _Step(recorded, None)
        else:
            applied.add(cause.event_id)
            yield _Step(recorded, cause)


def _settle_letters(connection: Connection, past: Sequence[PastEvent], catalog: Catalog) -> None:
    """Delete the letters that were redriven since the copy was made, and discard those that were discarded.

    What a redriven event led to is applied as its effect; an event without effects is handled when it comes again.
    """
    for stored in (event.stored for event in past):
        match _decode(stored, catalog).event:
            case EventRedriven(event_id=event_id):
                letters = dead_letters.find_letters(connection, DEAD_LETTER.c.event_id == event_id)
                dead_letters.delete(connection, letters)
                inbox.forget(connection, [letter.event_id for letter in letters])
            case EventDiscarded(event_id=event_id, reason=reason):
                at = stored.recorded_at
                for letter in dead_letters.find_letters(
                    connection, DEAD_LETTER.c.event_id == event_id
                ):
                    dead_letters.discard(connection, letter, by=UNKNOWN, reason=reason, at=at)
            case _:
                pass


def _decode(stored: StoredEvent, catalog: Catalog) -> RecordedEvent:
    try:
        event = catalog.decode(stored.event_type, stored.schema_version, stored.data)
    except (DecodeError, msgspec.MsgspecError) as error:
        raise FatalError(
            f"event {stored.position} of {stored.source} ({stored.event_type}) cannot be read by "
            f"this release: {error}"
        ) from error
    return RecordedEvent(
        event_id=stored.event_id,
        source=stored.source,
        position=stored.position,
        event=event,
        recorded_at=stored.recorded_at,
        correlation_id=stored.correlation_id,
        causation_id=stored.causation_id,
        traceparent=stored.traceparent,
        actor=stored.actor,
    )


def _apply(
    state: State, steps: Sequence[_Step], logic: ServiceLogic[State, Any]
) -> _Applied[State]:
    changes: list[tuple[Change, RecordedEvent]] = []
    for step in steps:
        for recorded in filter(None, (step.cause, step.recorded)):
            try:
                state = logic.decider.evolve(state, recorded)
                changes += [(change, recorded) for change in logic.schedule(state, recorded)]
            except Exception as error:
                raise FatalError(
                    f"the rules do not accept event {recorded.position} of {recorded.source} "
                    f"({recorded.event_type}): {type(error).__name__}: {error}"
                ) from error
    return _Applied(state, changes)


def _update_tasks(
    connection: Connection,
    own: Sequence[RecordedEvent],
    changes: Sequence[tuple[Change, RecordedEvent]],
    now: datetime,
) -> None:
    """Schedule and cancel as the events require, and finish the tasks that they are the results of.

    Only a task leads from one event of a service to another of the same service.
    """
    task_queue.apply(connection, changes, now)
    causation_ids = {recorded.causation_id for recorded in own if recorded.causation_id}
    results_of = event_log.recorded_among(connection, causation_ids)
    task_queue.finish_caused_by(connection, results_of)
