"""Messages in order: each event is handled, or becomes a dead letter and parks its entity.

Both kinds of services consume in this way: those that decide (`unit_of_work`) and those that project (`projector`).
"""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from shared.chassis.engine.rules import RuleFailed
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import dead_letters
from shared.chassis.storage.dead_letters import DeadLetter, MalformedMessage, Message, Status

Entity = TypeVar("Entity", bound=Hashable)

Failures = dict[str, RuleFailed]
"""What the rules raised, by event id."""


def handle_in_order(
    messages: Iterable[Message],
    *,
    parked: set[Entity],
    entity_of: Callable[[RecordedEvent], Entity],
    handle: Callable[[RecordedEvent], None],
    dead_letter: Callable[[DeadLetter, RecordedEvent | None], None],
) -> Failures:
    """Handle the events of entities that are not parked; every other message becomes a dead letter.

    `handle` raises RuleFailed and changes nothing then. The entities of such events are added to `parked`.
    """
    failures: Failures = {}
    for message in messages:
        if isinstance(message, MalformedMessage):
            dead_letter(dead_letters.undecodable(message), None)
        elif entity_of(message) in parked:
            reason = "its entity is parked"
            dead_letter(dead_letters.unhandled(message, Status.WAITING, reason), message)
        else:
            try:
                handle(message)
            except RuleFailed as failed:
                failures[message.event_id] = failed
                parked.add(entity_of(message))
                dead_letter(dead_letters.unhandled(message, Status.PARKED, str(failed)), message)
    return failures
