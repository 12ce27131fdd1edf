"""Redrives and discards dead letters on request, durably: what was requested is carried out after a restart too.

Everything happens in transactions of the writer, which also handles new events. So an event that arrives during a
redrive is kept behind the letters of its entity, or handled after them.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Connection

from shared.chassis.engine.backoff import Backoff
from shared.chassis.engine.inbound import Attempt
from shared.chassis.engine.redrive import Redriving, Trial, receive_again
from shared.chassis.engine.unit_of_work import Outcome
from shared.chassis.engine.writer import StorageUnavailable, Writer
from shared.chassis.messages import clock
from shared.chassis.messages.event import MAX_ERROR_LENGTH
from shared.chassis.messages.received import UnsupportedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage import dead_letters, redrives
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database
from shared.chassis.storage.dead_letters import DEAD_LETTER, KEY, PARKING, Status, StoredLetter
from shared.chassis.storage.redrives import ItemOutcome, Place, Redrive

MAX_AT_ONCE = 200
"""Letters of an entity in one transaction: bounds how long commands wait for it."""
ENTITIES_AT_ONCE = 8
CHECK_SECONDS = 60
"""How often it looks for letters that can be read: a rebuild brings back those that were redriven meanwhile."""
UPGRADE = "upgrade"
"""Requests the letters that this release can read and the last one could not."""

log = structlog.get_logger()


class Redriver:
    """Carries out the redrives of one service, one entity after the other."""

    def __init__(self, reads: Database, writer: Writer[Any, Any], redriving: Redriving) -> None:
        self._reads = reads
        self._writer = writer
        self._redriving = redriving
        self._requested = asyncio.Event()
        self._settled = asyncio.Event()
        self._backoff = Backoff()

    async def run(self) -> None:
        """Carry out what was requested before a restart, what an upgrade makes readable, and what is requested."""
        while True:
            self._requested.clear()
            try:
                await self._request_readable()
                await self._carry_out_all()
            except TRANSIENT_DATABASE_ERRORS as error:
                log.warning("redrive.postponed", reason=str(error))
                await self._backoff.pause()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._requested.wait()

    async def request(self, condition: ColumnElement[bool], by: str) -> str:
        """Redrive all letters of the entities that have one that fulfils the condition; returns the redrive's id."""
        redrive_id = await self._writer.run_for_client(
            partial(redrives.request, condition=condition, by=by, at=clock.now())
        )
        self._requested.set()
        return redrive_id

    async def wait(self, redrive_id: str, seconds: float) -> Redrive | None:
        """The redrive, when it is finished or after this time."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            settled = self._settled
            is_finished = partial(redrives.is_finished, redrive_id=redrive_id)
            if await self._reads.run(is_finished):
                return await self.find(redrive_id)
            try:
                async with asyncio.timeout_at(end):
                    await settled.wait()
            except TimeoutError:
                return await self.find(redrive_id)

    async def find(self, redrive_id: str) -> Redrive | None:
        return await self._reads.run(partial(redrives.find, redrive_id=redrive_id))

    async def attempt(self, key: str) -> list[Trial]:
        """What a redrive of the entity would do now, without doing it; of each part that is parked for itself."""
        return await self._reads.run(partial(self._attempt, key=key))

    async def discard(self, key: str, event_id: str, *, by: str, reason: str) -> str | None:
        """Never handle this letter; returns the id of the redrive of those that waited behind it, if any.

        Raises Rejected: `unknown-dead-letter`.
        """
        rest: list[str] = []
        letters: list[StoredLetter] = []

        def discard(connection: Connection) -> Outcome | None:
            rest.clear()
            letters[:] = dead_letters.find_letters(
                connection, (DEAD_LETTER.c.event_id == event_id) & (key == KEY)
            )
            if not letters or letters[0].status is Status.DISCARDED:  # the request is repeated
                return None
            outcome = self._redriving.discard(connection, letters[0], reason)
            rest.extend(_discard(connection, letters[0], self._place_of(letters[0]), by, reason))
            return outcome

        outcome = await self._writer.run_for_client(discard)
        if not letters:
            raise Rejected("unknown-dead-letter", f"there is no dead letter {event_id} of {key}")
        if outcome:
            log.warning("event.discarded", event_id=event_id, key=key, by=by, reason=reason)
        self._requested.set()
        return next(iter(rest), None)

    async def _request_readable(self) -> None:
        schemas = await self._reads.run(self._readable_schemas)
        if schemas:
            log.info("redrive.requested", by=UPGRADE, schemas=schemas)
            condition = dead_letters.awaiting(schemas)
            await self._retry(
                partial(redrives.request, condition=condition, by=UPGRADE, at=clock.now())
            )

    def _readable_schemas(self, connection: Connection) -> list[str]:
        """Those of the letters that waited for an upgrade and can be read now; one of each is tried."""
        samples = dead_letters.samples_awaiting(connection)
        messages = receive_again(list(samples.values()), self._redriving.catalog)
        return [
            schema
            for schema, (_, message) in zip(samples, messages, strict=True)
            if not isinstance(message, UnsupportedEvent)
        ]

    async def _carry_out_all(self) -> None:
        count_pending = partial(redrives.count_pending, most=ENTITIES_AT_ONCE)
        while pending := await self._reads.run(count_pending):
            # The writer commits them together.
            await asyncio.gather(*(self._carry_out_next() for _ in range(pending)))
            self._backoff.reset()
            self._settled.set()
            self._settled = asyncio.Event()

    async def _carry_out_next(self) -> None:
        attempts: list[Attempt] = []

        def carry_out(connection: Connection) -> Outcome | None:
            attempts.clear()
            outcome, new = self._carry_out(connection)
            attempts.extend(new)
            return outcome

        try:
            await self._retry(carry_out)
        except Exception as error:
            log.exception("redrive.failed")
            attempts.clear()
            await self._retry(partial(self._give_up, reason=f"{type(error).__name__}: {error}"))
        _log(attempts)

    async def _retry(self, work: Any) -> None:  # noqa: ANN401 - whatever the writer takes
        while True:
            try:
                await self._writer.run_in_transaction(work)
            except StorageUnavailable as error:
                log.warning("redrive.postponed", reason=str(error))
                await self._backoff.pause()
            else:
                self._backoff.reset()
                return

    def _carry_out(self, connection: Connection) -> tuple[Outcome | None, Sequence[Attempt]]:
        """Handle some letters of the next entity, if there is one."""
        following = redrives.next_place(connection)
        if following is None:
            return None, ()
        redrive_id, place = following
        place = place if self._redriving.by_source else Place(place.key, None)
        now = clock.now()
        letters = dead_letters.queue_of(connection, *place, MAX_AT_ONCE + 1)
        rest = letters[MAX_AT_ONCE:]
        attempts, outcome = self._redriving.redrive(connection, letters[:MAX_AT_ONCE])
        _note(connection, attempts)
        settled = {a.letter.event_id: (a.outcome, a.error) for a in attempts}
        redrives.settle(connection, settled, now)
        if rest and all(attempt.is_settled for attempt in attempts):
            _park(connection, rest[0], "a redrive of its entity is under way")
            redrives.add_items(connection, redrive_id, dead_letters.of_entity(*place), now)
        else:
            waiting = (ItemOutcome.WAITING, dead_letters.WAITING_ERROR)
            redrives.settle_rest(connection, place, waiting, now)
        return outcome, attempts

    def _give_up(self, connection: Connection, reason: str) -> None:
        """Settle the items of the next entity, whose letters cannot be handled."""
        if following := redrives.next_place(connection):
            _, place = following
            failed = (ItemOutcome.FAILED, reason[:MAX_ERROR_LENGTH])
            redrives.settle_rest(connection, place, failed, clock.now())

    def _attempt(self, connection: Connection, key: str) -> list[Trial]:
        letters = dead_letters.find_letters(connection, dead_letters.of_entity(key))
        places = dict.fromkeys(map(self._place_of, letters))
        return [
            self._redriving.attempt(
                connection, dead_letters.queue_of(connection, *place, MAX_AT_ONCE)
            )
            for place in places
        ]

    def _place_of(self, letter: StoredLetter) -> Place:
        return Place(letter.key, (letter.source or "") if self._redriving.by_source else None)


def _discard(
    connection: Connection, letter: StoredLetter, place: Place, by: str, reason: str
) -> list[str]:
    """Handle what waited behind the letter; returns the id of that redrive, if anything did."""
    now = clock.now()
    dead_letters.discard(connection, letter, by=by, reason=reason, at=now)
    redrives.settle(connection, {letter.event_id: (ItemOutcome.DISCARDED, reason)}, now)
    behind = dead_letters.of_entity(*place)
    following = dead_letters.queue_of(connection, *place, 1)
    if letter.status not in PARKING or not following:
        return []
    _park(connection, following[0], "the letter before it was discarded")
    return [redrives.request(connection, behind, by=by, at=now)]


def _park(connection: Connection, letter: StoredLetter, error: str) -> None:
    """Make the letter the one that parks its entity."""
    dead_letters.change(connection, letter, Status.PARKED, error)


def _note(connection: Connection, attempts: Sequence[Attempt]) -> None:
    """Delete the letters that are settled, and note why the first of the others is not."""
    dead_letters.delete(connection, [a.letter for a in attempts if a.is_settled])
    for attempt in attempts:
        match attempt.outcome:
            case ItemOutcome.AWAITING_UPGRADE if attempt.letter.entity_id:
                status = Status.AWAITING_UPGRADE
            case ItemOutcome.FAILED if attempt.letter.entity_id:
                status = Status.PARKED
            case ItemOutcome.FAILED | ItemOutcome.AWAITING_UPGRADE:
                status = Status.UNDECODABLE
            case ItemOutcome.WAITING if attempt.letter.status is Status.AWAITING_UPGRADE:
                status = Status.WAITING
            case _:
                continue
        dead_letters.change(connection, attempt.letter, status, attempt.error or "")


def _log(attempts: Sequence[Attempt]) -> None:
    for attempt in attempts:
        letter = attempt.letter
        if attempt.is_settled:
            log.info("event.redriven", event_id=letter.event_id, key=letter.key)
        elif attempt.outcome is not ItemOutcome.WAITING:
            log.error(
                "redrive.failed",
                event_id=letter.event_id,
                key=letter.key,
                reason=attempt.error,
                exc_info=attempt.failure and attempt.failure.error,
            )
