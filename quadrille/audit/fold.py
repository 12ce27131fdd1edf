"""The fold of a service's events with its own rules, and how it differs from the service's tables.

Rules are given only the entities that an event refers to, as in a unit of work: the cost of an event does not grow with
the number of entities.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.touches import touches

State = TypeVar("State", bound=msgspec.Struct)
Entities = dict[str, msgspec.Struct]
"""By id."""


class Difference(NamedTuple):
    """An entity that is not as expected; None stands for one that does not exist."""

    field: str
    """Of the state: `orders`, `reservations`."""
    entity_id: str
    expected: msgspec.Struct | None
    actual: msgspec.Struct | None


class FoldError(Exception):
    """The rules reject the history; the message names the event."""


def fold(
    initial: State,
    evolve: Callable[[State, RecordedEvent], State],
    history: Iterable[RecordedEvent],
) -> dict[str, Entities]:
    """The state after all events, by field. Raises FoldError."""
    state: dict[str, Entities] = {field: {} for field in initial.__struct_fields__}
    for recorded in history:
        before = _referenced(state, recorded)
        try:
            after = evolve(msgspec.structs.replace(initial, **before), recorded)
        except Exception as error:
            raise FoldError(
                f"{recorded.event_type} of {recorded.event.entity_id} at position "
                f"{recorded.position} of {recorded.source}: {type(error).__name__}: {error}"
            ) from error
        for field, entities in before.items():
            _update(state[field], entities, getattr(after, field))
    return state


def differences(
    expected: Mapping[str, Entities], actual: Mapping[str, Mapping[str, msgspec.Struct]]
) -> Iterator[Difference]:
    """The entities in which the states differ."""
    for field, entities in expected.items():
        others = actual[field]
        for entity_id in sorted(entities.keys() | others.keys()):
            entity, other = entities.get(entity_id), others.get(entity_id)
            if entity != other:
                yield Difference(field, entity_id, entity, other)


def _referenced(state: Mapping[str, Entities], recorded: RecordedEvent) -> dict[str, Entities]:
    """The entities that the event refers to, in every field of the state.

    An id of another kind selects nothing, or one entity too many, which does no harm.
    """
    ids = {entity_id for ids in touches(recorded.event).values() for entity_id in ids}
    return {
        field: {entity_id: entities[entity_id] for entity_id in ids & entities.keys()}
        for field, entities in state.items()
    }


def _update(entities: Entities, before: Entities, after: Mapping[str, msgspec.Struct]) -> None:
    for entity_id in before.keys() - after.keys():
        del entities[entity_id]
    entities.update(after)
