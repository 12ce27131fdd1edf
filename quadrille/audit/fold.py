"""A service's history folded through its own rules, and how the outcome differs from what its rows say.

Rules see only the part of the state that an event touches, as in the service's own batches: an event costs the
same after a million others.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from shared.chassis.messages.recorded_event import RecordedEvent

State: TypeAlias = Any
"""Each service has its own: a frozen struct of mappings and sets."""
Part: TypeAlias = Any
"""One field of it."""

_QUOTED = re.compile(r'"([^"\\]*)"')


class Difference(NamedTuple):
    """One entity that is not as it should be; None for one that should not, or does not, exist."""

    part: str
    """The field of the state: `orders`, `reservations`."""
    entity: str
    expected: Any
    found: Any


class FoldError(Exception):
    """The rules can not follow the history; the message says where."""


def fold(
    nothing: State,
    evolve: Callable[[State, RecordedEvent], State],
    history: Iterable[RecordedEvent],
) -> dict[str, Any]:
    """The state after all of it, as one mapping or set for each of its fields. Raises FoldError."""
    whole = {name: _mutable(getattr(nothing, name)) for name in nothing.__struct_fields__}
    for recorded in history:
        before = _touched(whole, recorded)
        try:
            after = evolve(msgspec.structs.replace(nothing, **before), recorded)
        except Exception as error:
            message = (
                f"{recorded.event_type} of {recorded.key} ({recorded.source} {recorded.position}) "
                f"does not fit what came before: {type(error).__name__}: {error}"
            )
            raise FoldError(message) from error
        for name, part in before.items():
            _merge(whole, name, part, getattr(after, name))
    return whole


def differences(expected: Mapping[str, Any], found: State) -> Iterator[Difference]:
    """What is in one and not, or not so, in the other."""
    for name, should in expected.items():
        has = getattr(found, name)
        if isinstance(should, dict):
            for key in sorted(should.keys() | has.keys(), key=str):
                if should.get(key) != has.get(key):
                    yield Difference(name, str(key), should.get(key), has.get(key))
        elif isinstance(should, set):
            for key in sorted(should ^ has, key=str):
                yield Difference(name, str(key), key in should, key in has)
        elif should != has:
            yield Difference(name, name, should, has)


def _touched(whole: Mapping[str, Any], recorded: RecordedEvent) -> dict[str, Any]:
    """The entities that the event names, and those that these name."""
    named = _names(recorded.event)
    for part in whole.values():
        if isinstance(part, dict):
            for key in named & part.keys():
                named |= _names(part[key])
    return {name: _restricted(part, named) for name, part in whole.items()}


def _restricted(part: Part, named: set[str]) -> Part:
    if isinstance(part, dict):
        return {key: part[key] for key in named & part.keys()}
    if isinstance(part, set):
        return frozenset(named & part)
    return part


def _merge(whole: dict[str, Any], name: str, before: Part, after: Part) -> None:
    part = whole[name]
    if isinstance(part, dict):
        for key in before.keys() - after.keys():
            del part[key]
        part.update(after)
    elif isinstance(part, set):
        part -= before - after
        part |= after
    else:
        whole[name] = after


def _mutable(part: Part) -> Part:
    if isinstance(part, Mapping):
        return dict(part)
    return set(part) if isinstance(part, frozenset) else part


def _names(entity: object) -> set[str]:
    """Every string in it that could be an id, field names too; ids contain nothing that JSON escapes."""
    return set(_QUOTED.findall(msgspec.json.encode(entity).decode()))
