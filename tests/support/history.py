"""Events as a log holds them, and the state that a history of them leads to."""

from collections.abc import Callable
from typing import TypeVar

from shared.chassis import testing
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import CATALOG

State = TypeVar("State")


def recorded(
    event: Event, *, position: int | None = None, source: str | None = None
) -> RecordedEvent:
    """The event as its publisher would record it; the order service, for one that every service may publish."""
    source = source or CATALOG.publisher_of(type(event)) or "order"
    return testing.recorded(event, position=position, source=source)


def fold(evolve: Callable[[State, RecordedEvent], State], state: State, *events: Event) -> State:
    """The state after these events, given any state before."""
    for event in events:
        state = evolve(state, recorded(event))
    return state
