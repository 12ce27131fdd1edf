"""Which changes of a field can be made without a new schema version: old events stay readable, with all their fields."""

from enum import StrEnum
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from shared.chassis.messages.event import Event
from tests.support.strategies import events
from tools.contracts.compatibility import incompatible_changes, widened_fields
from tools.contracts.schemas import schema_of

Text = Annotated[str, Meta(max_length=20)]
ShortText = Annotated[str, Meta(max_length=10)]
NotEmpty = Annotated[str, Meta(min_length=1, max_length=20)]
Word = Annotated[str, Meta(min_length=1, max_length=20, pattern="^[A-Za-z0-9_-]+$")]
Count = Annotated[int, Meta(ge=0, le=100)]
SmallCount = Annotated[int, Meta(ge=1, le=9)]
Size = Literal["S", "M", "L"]
FewSizes = Literal["S", "L"]


class Colour(StrEnum):
    RED = "RED"
    BLUE = "BLUE"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    sku: Text
    count: Count


class LineWithPrice(Line, frozen=True, kw_only=True):
    price: Count | None = None


class LineWithoutCount(msgspec.Struct, frozen=True, kw_only=True):
    sku: Text


TYPES: tuple[Any, ...] = (
    *(Text, ShortText, NotEmpty, Word, Count, SmallCount, bool, Size, FewSizes, Colour),
    *(Literal[1, 2], Literal["RED"], Line, LineWithPrice, LineWithoutCount),
    *(dict[Text, Text], dict[Text, ShortText], dict[Text, Count]),
    *(Annotated[dict[Text, Text], Meta(max_length=1)], Annotated[dict[Word, Text], Meta()]),
    *(tuple[Text, ...], tuple[Word, ...], tuple[Line, ...], tuple[LineWithoutCount, ...]),
    Annotated[tuple[Text, ...], Meta(max_length=1)],
)
FIELD_TYPES = (*TYPES, *(field_type | None for field_type in TYPES))


def event(**fields: Any) -> type[Event]:
    """An event with these fields: a type, or a type and its default."""
    named = [
        (name, *field) if isinstance(field, tuple) else (name, field)
        for name, field in fields.items()
    ]
    return msgspec.defstruct(
        "Thing",
        named,
        bases=(Event,),
        namespace={"ENTITY": "field", "__annotations__": {"ENTITY": ClassVar[str]}},
        frozen=True,
        kw_only=True,
        rename="camel",
        omit_defaults=True,
    )


def changes(old: type[Event], new: type[Event]) -> list[str]:
    return [str(change) for change in incompatible_changes(schema_of(old), schema_of(new))]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"field": Text}, {"field": Text}),
        ({"field": Text}, {"field": Text, "more": (Text | None, None)}),
        ({"field": Text}, {"field": (Text | None, None)}),
        ({"field": ShortText}, {"field": Text}),
        ({"field": Word}, {"field": NotEmpty}),
        ({"field": SmallCount}, {"field": Count}),
        ({"field": FewSizes}, {"field": Size}),
        ({"field": Size}, {"field": Text}),
        ({"field": Line}, {"field": LineWithPrice}),
        ({"field": tuple[Word, ...]}, {"field": tuple[Text, ...]}),
        ({"field": dict[Text, ShortText]}, {"field": dict[Text, Text]}),
    ],
)
def test_additional_or_wider_field_is_compatible(old: dict[str, Any], new: dict[str, Any]):
    assert changes(event(**old), event(**new)) == []


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ({"field": Text, "b": Text}, {"field": Text}, "b: was removed"),
        (
            {"field": Text, "b": Count},
            {"field": Text, "c": Count},
            "b: was removed, or renamed to c",
        ),
        ({"field": Text}, {"field": Text, "b": Text}, "b: is a new required field"),
        ({"field": (Text | None, None)}, {"field": Text | None}, "field: became required"),
        ({"field": (bool, False)}, {"field": (bool, True)}, "field: has another default"),
        ({"field": Text}, {"field": Count}, "field: no longer accepts string, only integer"),
        ({"field": Text | None}, {"field": Text}, "field: no longer accepts null, only string"),
        ({"field": Text}, {"field": ShortText}, "field: maxLength is 10, was 20"),
        ({"field": Text}, {"field": NotEmpty}, "field: minLength is 1, was none"),
        ({"field": NotEmpty}, {"field": Word}, "field: pattern is '^[A-Za-z0-9_-]+$', was None"),
        ({"field": Count}, {"field": SmallCount}, "field: maximum is 9, was 100"),
        ({"field": Size}, {"field": FewSizes}, "field: no longer accepts M"),
        ({"field": Text}, {"field": Size}, "field: accepts only L, M, S"),
        ({"field": Line}, {"field": LineWithoutCount}, "field.count: was removed"),
        (
            {"field": tuple[LineWithoutCount, ...]},
            {"field": tuple[Line, ...]},
            "field[].count: is a new required field",
        ),
        (
            {"field": dict[Text, Text] | None},
            {"field": dict[Text, ShortText] | None},
            "field{}: maxLength is 10, was 20",
        ),
        (
            {"field": dict[Text, Text]},
            {"field": LineWithoutCount},
            "field: no longer accepts fields of any name",
        ),
    ],
)
def test_removed_required_or_narrowed_field_is_refused(
    old: dict[str, Any], new: dict[str, Any], change: str
):
    assert change in changes(event(**old), event(**new))


PAIRS = [
    (event(field=old), event(field=new))
    for old, new in product(FIELD_TYPES, repeat=2)
    if old is not new
]
COMPATIBLE = [(old, new) for old, new in PAIRS if not changes(old, new)]


@given(
    st.sampled_from(COMPATIBLE).flatmap(lambda pair: st.tuples(events(pair[0]), st.just(pair[1])))
)
def test_compatible_change_keeps_every_event_readable(case: tuple[Event, type[Event]]):
    written, reader = case
    read = msgspec.json.decode(msgspec.json.encode(written), type=reader)
    assert contains(msgspec.to_builtins(read), msgspec.to_builtins(written))


def contains(after: Any, before: Any) -> bool:
    """Whether every value of `before` is in `after`, which may have more fields."""
    match before:
        case dict():
            return all(name in after and contains(after[name], before[name]) for name in before)
        case list() | tuple():
            return len(after) == len(before) and all(map(contains, after, before))
        case _:
            return bool(after == before)


def test_many_changes_are_compatible():
    assert len(COMPATIBLE) > len(FIELD_TYPES)


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        ({"field": FewSizes}, {"field": Size}, ["field"]),
        ({"field": ShortText, "b": Text}, {"field": Text, "b": Text}, ["field"]),
        ({"field": Text}, {"field": (Text, "")}, ["field"]),
        ({"field": Text}, {"field": Text, "more": (Text | None, None)}, []),
    ],
)
def test_wider_field_is_noted_for_its_consumers(
    old: dict[str, Any], new: dict[str, Any], fields: list[str]
):
    assert widened_fields(schema_of(event(**old)), schema_of(event(**new))) == fields
