"""Messages in order: each event is handled, or becomes a dead letter and parks its entity.

Both kinds of services consume in this way: those that decide (`unit_of_work`) and those that project (`projector`).
"""

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeVar

from shared.chassis.engine.rules import RuleFailed
from shared.chassis.messages.received import MalformedMessage, Message, UnsupportedEvent
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import dead_letters
from shared.chassis.storage.dead_letters import WAITING_ERROR, DeadLetter, Status, StoredLetter
from shared.chassis.storage.redrives import ItemOutcome

Entity = TypeVar("Entity", bound=Hashable)

Failures = dict[str, RuleFailed]
"""What the rules raised, by event id."""


def handle_in_order(
    messages: Iterable[Message],
    *,
    parked: dict[Entity, int],
    entity_of: Callable[[RecordedEvent | UnsupportedEvent], Entity],
    handle: Callable[[RecordedEvent], None],
    dead_letter: Callable[[DeadLetter, RecordedEvent | UnsupportedEvent | None], None],
) -> Failures:
    """Handle the events of entities that are not parked; every other message becomes a dead letter.

    `parked` has the first position that waits. `handle` raises RuleFailed and changes nothing then. The entities of
    such events, and of events of a later release, are added to `parked`.
    """
    failures: Failures = {}
    for message in messages:
        if isinstance(message, MalformedMessage):
            dead_letter(dead_letters.undecodable(message), None)
            continue
        entity = entity_of(message)
        if entity in parked and message.position >= parked[entity]:
            dead_letter(dead_letters.unhandled(message, Status.WAITING, WAITING_ERROR), message)
        elif isinstance(message, UnsupportedEvent):
            parked[entity] = 0
            letter = dead_letters.unhandled(message, Status.AWAITING_UPGRADE, message.error)
            dead_letter(letter, message)
        else:
            try:
                handle(message)
            except RuleFailed as failed:
                failures[message.event_id] = failed
                parked[entity] = 0
                dead_letter(dead_letters.unhandled(message, Status.PARKED, str(failed)), message)
    return failures


class Attempt(NamedTuple):
    """A letter of a redrive, and what became of it."""

    letter: StoredLetter
    message: Message
    outcome: ItemOutcome
    error: str | None = None
    """Why it is not handled."""
    failure: RuleFailed | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the letter is no longer needed."""
        return self.outcome in {ItemOutcome.HANDLED, ItemOutcome.DUPLICATE}


HandleLetter = Callable[[StoredLetter, RecordedEvent], ItemOutcome]
"""Returns what became of the letter's event; raises RuleFailed and changes nothing then."""


def redrive_in_order(
    letters: Iterable[tuple[StoredLetter, Message]], handle: HandleLetter
) -> list[Attempt]:
    """Handle the letters of one entity up to the first that is not handled; the later ones wait behind it."""
    attempts: list[Attempt] = []
    is_blocked = False
    for letter, message in letters:
        attempt = _waiting(letter, message) if is_blocked else _attempt(letter, message, handle)
        attempts.append(attempt)
        is_blocked = not attempt.is_settled
    return attempts


def _waiting(letter: StoredLetter, message: Message) -> Attempt:
    return Attempt(letter, message, ItemOutcome.WAITING, WAITING_ERROR)


def _attempt(letter: StoredLetter, message: Message, handle: HandleLetter) -> Attempt:
    if isinstance(message, UnsupportedEvent):
        return Attempt(letter, message, ItemOutcome.AWAITING_UPGRADE, message.error)
    if isinstance(message, MalformedMessage):
        return Attempt(letter, message, ItemOutcome.FAILED, message.error)
    try:
        outcome = handle(letter, message)
    except RuleFailed as failed:
        return Attempt(letter, message, ItemOutcome.FAILED, str(failed), failed)
    return Attempt(
        letter, message, outcome, WAITING_ERROR if outcome is ItemOutcome.WAITING else None
    )
