"""Hypothesis strategies that follow the contracts' own types: whatever may travel, is drawn."""

from datetime import UTC
from functools import cache
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from shared.chassis.messages.event import Event

ID_CHARACTERS = "abcXYZ019_-"
SIZE = 3
"""Of a generated collection."""
CHARACTERS = st.characters(exclude_categories=["Cs"])


@cache
def events(event_type: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of this type that its schema allows."""
    return _values(inspect.type_info(event_type))


def _values(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.Metadata(type=inner):
            return _values(inner)
        case inspect.StructType(cls=struct, fields=fields):
            return st.builds(struct, **{field.name: _values(field.type) for field in fields})
        case inspect.VarTupleType(item_type=item, max_length=most):
            return st.lists(_values(item), max_size=_size(most)).map(tuple)
        case inspect.DictType(key_type=key, value_type=value, max_length=most):
            return st.dictionaries(_values(key), _values(value), max_size=_size(most))
        case inspect.UnionType(types=types):
            return st.one_of([_values(member) for member in types])
        case _:
            return _scalars(info)


def _size(most: int | None) -> int:
    return SIZE if most is None else min(most, SIZE)


def _scalars(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.IntType(ge=least, le=most):
            return st.integers(least, most)
        case inspect.StrType(pattern=pattern, min_length=least, max_length=most):
            if pattern:
                return st.text(ID_CHARACTERS, min_size=least or 0, max_size=most)
            return st.text(CHARACTERS, min_size=least or 0, max_size=min(most, 30))
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.EnumType(cls=enum):
            return st.sampled_from(enum)
        case inspect.BoolType():
            return st.booleans()
        case inspect.DateTimeType():
            return st.datetimes(timezones=st.just(UTC))
        case inspect.NoneType():
            return st.none()
        case _:
            message = f"no strategy for {info}"
            raise TypeError(message)
