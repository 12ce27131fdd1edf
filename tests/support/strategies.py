"""Hypothesis strategies that follow the contracts' own types: whatever may travel, is drawn."""

from functools import cache
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from shared.contracts import Event

IDS = st.text("abcXYZ019_-", min_size=1, max_size=64)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@cache
def events(event_type: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of this type that its schema allows."""
    return _values(inspect.type_info(event_type))


def _values(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType(cls=struct, fields=fields):
            return st.builds(struct, **{field.name: _values(field.type) for field in fields})
        case inspect.VarTupleType(item_type=item):
            return st.lists(_values(item), max_size=3).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_values(key), _values(value), max_size=3)
        case inspect.UnionType(types=types):
            return st.one_of([_values(each) for each in types])
        case _:
            return _scalars(info)


def _scalars(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.IntType(ge=least, le=most):
            return st.integers(
                -(2**63) if least is None else least, 2**63 - 1 if most is None else most
            )
        case inspect.StrType(pattern=pattern):
            return IDS if pattern else TEXTS
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case _:
            message = f"no strategy for {info}"
            raise TypeError(message)
