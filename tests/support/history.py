"""Events as a log would hold them, and the state that a history of them leads to."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TypeVar

from shared.chassis.messages.clock import new_id
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import CATALOG

START = datetime(2026, 11, 20, 9, tzinfo=UTC)

State = TypeVar("State")

_moments = count(1)


def recorded(
    event: Event, *, position: int | None = None, source: str | None = None
) -> RecordedEvent:
    """The event as its emitter would record it, each a second later and a position further on."""
    moment = next(_moments)
    return RecordedEvent(
        event_id=new_id(),
        source=source or CATALOG.publisher_of(type(event)) or "order",
        position=moment if position is None else position,
        event=event,
        recorded_at=START + timedelta(seconds=moment),
        correlation_id=event.entity_id,
    )


def fold(evolve: Callable[[State, RecordedEvent], State], state: State, *events: Event) -> State:
    """The state after these events, given any state before."""
    for event in events:
        state = evolve(state, recorded(event))
    return state
