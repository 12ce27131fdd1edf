"""Heard events → rows: one transaction for each batch, each source in its order, each event once.

An event that the projections can not take (they are pure: it would fail again) is kept among the dead letters
with those of its source and key that follow; the combined log shows all of them, and nothing else is held up.
The way back is a mended projection and a deleted database.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from read_api import checkpoints, divergence, event_archive, store
from read_api.divergence import Divergence
from shared.chassis.engine.rules import RuleFailed
from shared.chassis.engine.unit_of_work import Message
from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.http import signing_keys
from shared.chassis.messages import clock
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import dead_letters
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database, select_in
from shared.chassis.storage.dead_letters import (
    DEAD_LETTER,
    DeadLetter,
    MalformedMessage,
    Status,
    given_up,
)
from shared.contracts import CATALOG

log = structlog.get_logger()

Key = tuple[str, str]
"""A source, and an entity it speaks of: their events keep their order, and are parked together."""


class Progress(NamedTuple):
    """Where the rows stand, and what keeps them from being complete."""

    positions: dict[str, int]
    missing: dict[str, int]
    divergences: list[Divergence]


class Applied(NamedTuple):
    """What a committed batch has done."""

    events: list[RecordedEvent]
    letters: list[DeadLetter]
    progress: Progress


class Projector:
    """Keeps the rows; tells of every event once it is durable, and when it knows where the rows stand."""

    def __init__(
        self, database: Database, on_applied: Callable[[Sequence[RecordedEvent]], None]
    ) -> None:
        self._database = database
        self._on_applied = on_applied
        self.positions: dict[str, int] = {}
        """The last position of each source that queries see."""
        self.missing: dict[str, int] = {}
        """The position, by source, of an event that later ones wait for."""
        self.divergences: list[Divergence] = []
        """Held events that are not waited for."""
        self.lags: dict[str, timedelta] = {}
        """How old the newest event of each source was when it was made visible; of those that came since the start."""

    async def resume(self) -> None:
        """Find out where the rows stand."""
        self._note(await self._database.run(lambda each: _progress(each, checkpoints.load(each))))
        self._on_applied([])

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Take them in durably, each once; raises what the database raises: deliver them again."""
        try:
            applied = await self._commit(messages)
        except RuleFailed as error:
            log.warning("batch.split", messages=len(messages), reason=str(error))
            applied = await self._commit(messages, one_by_one=True)
        self._note(applied.progress)
        now = clock.now()
        self.lags |= {event.source: now - event.recorded_at for event in applied.events}
        self._on_applied(applied.events)
        _log(applied)

    async def forget(self, source: str, position: int, event_id: str) -> bool:
        """Remove a held event; whether there was one. Raises what the database raises."""

        def body(connection: Connection) -> tuple[bool, Progress]:
            was_held = divergence.forget(connection, source, position, event_id)
            return was_held, _progress(connection, checkpoints.load(connection))

        was_held, progress = await self._database.run(body)
        if was_held:
            log.warning("event.forgotten", source=source, position=position, event_id=event_id)
        self._note(progress)
        return was_held

    def _note(self, progress: Progress) -> None:
        if progress.missing != self.missing:
            log.warning("events.missing", **progress.missing)
        for found in progress.divergences:
            if found not in self.divergences:
                log.error("event.diverged", **found._asdict())
        self.positions, self.missing, self.divergences = progress

    async def _commit(self, messages: Sequence[Message], *, one_by_one: bool = False) -> Applied:
        try:
            return await self._database.run(
                partial(apply, messages=messages, one_by_one=one_by_one)
            )
        except (RuleFailed, *TRANSIENT_DATABASE_ERRORS):
            raise
        except Exception as error:
            log.exception("batch.stuck")
            raise StorageUnavailable(str(error)) from error


def apply(
    connection: Connection, messages: Sequence[Message], *, one_by_one: bool = False
) -> Applied:
    """Do all of it in the caller's transaction; raises what a projection raises unless `one_by_one`."""
    applied = checkpoints.load(connection)
    ready = checkpoints.take(connection, applied, checkpoints.placed(messages))
    checkpoints.pass_over(
        connection, [one for one in ready if isinstance(one.message, MalformedMessage)]
    )
    events = [one.message for one in ready if isinstance(one.message, RecordedEvent)]
    parked = _parked(connection, events)
    if one_by_one:
        letters = _apply_each(connection, events, parked)
    else:
        event_archive.append(connection, events)
        store.project(connection, [event for event in events if _key(event) not in parked])
        letters = [_waiting(event) for event in events if _key(event) in parked]
    letters += [
        dead_letters.unreadable(message)
        for message in messages
        if isinstance(message, MalformedMessage)
    ]
    letters = _keep(connection, letters)
    signing_keys.keep(connection, "read", events)
    checkpoints.save(connection, applied)
    return Applied(events, letters, _progress(connection, applied))


def _progress(connection: Connection, applied: dict[str, int]) -> Progress:
    return Progress(
        positions=applied,
        missing=checkpoints.missing(connection, applied, sorted(CATALOG.sources)),
        divergences=divergence.find(connection, applied),
    )


def _apply_each(
    connection: Connection, events: Sequence[RecordedEvent], parked: set[Key]
) -> list[DeadLetter]:
    """Take each event in by itself; the letters of those that could not be."""
    event_archive.append(connection, events)
    letters = []
    for event in events:
        if _key(event) in parked:
            letters.append(_waiting(event))
        elif error := _attempt(connection, partial(store.project, heard=[event])):
            parked.add(_key(event))
            letters.append(given_up(event, Status.PARKED, error))
    return letters


def _attempt(connection: Connection, work: Callable[[Connection], None]) -> str | None:
    """What a rule raised, after which nothing of the work remains; None when it raised nothing."""
    try:
        with connection.begin_nested():
            work(connection)
    except RuleFailed as failed:
        return str(failed)
    return None


def _parked(connection: Connection, events: Sequence[RecordedEvent]) -> set[Key]:
    """Which sources and keys have an event that could not be taken in."""
    keys = list({event.entity_id for event in events})
    rows = select_in(connection, DEAD_LETTER, "key", keys)
    return {(row["subject"].split(".")[1], row["key"]) for row in rows}


def _keep(connection: Connection, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Write down those that are new, and return them."""
    once = {letter.event_id: letter for letter in letters}
    known = select_in(connection, DEAD_LETTER, "event_id", list(once))
    for row in known:
        del once[row["event_id"]]
    dead_letters.keep(connection, list(once.values()), clock.now())
    return list(once.values())


def _waiting(event: RecordedEvent) -> DeadLetter:
    return given_up(event, Status.WAITING, "an earlier one of its source and key is parked")


def _key(event: RecordedEvent) -> Key:
    return event.source, event.entity_id


def _log(applied: Applied) -> None:
    for letter in applied.letters:
        log.warning(
            "event.dead_lettered",
            event_id=letter.event_id,
            subject=letter.subject,
            status=letter.status,
            error=letter.error,
        )
    log.debug("events.applied", events=len(applied.events))
