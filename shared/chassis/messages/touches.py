"""Which entities a message or an entity refers to, declared by the types of its id fields.

OrderId = Annotated[str, id_of("order")]: a message with a field of this type touches that order.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect


def id_of(*kinds: str) -> msgspec.Meta:
    """Marks a string as an entity's id; of several kinds if entities of each have the same id."""
    return msgspec.Meta(extra={"entity": kinds})


class References(defaultdict[str, set[str]]):
    """Ids of entities by their kind."""

    def __init__(self) -> None:
        super().__init__(set)

    def add(self, message: msgspec.Struct) -> None:
        """Add every id in the message, in its nested structs and in its tuples."""
        for field in _id_fields(type(message)):
            self._add_field(field, getattr(message, field.name))

    def add_field(self, message: msgspec.Struct, name: str) -> None:
        """Add the ids in one field of the message."""
        for field in _id_fields(type(message)):
            if field.name == name:
                self._add_field(field, getattr(message, name))

    def _add_field(self, field: "_IdField", value: Any) -> None:  # noqa: ANN401 - an id, a struct, or a tuple of them
        if value is None:
            return
        for item in value if field.is_tuple else (value,):
            if field.kinds:
                for kind in field.kinds:
                    self[kind].add(item)
            else:
                self.add(item)


def touches(*messages: msgspec.Struct) -> References:
    """The ids of all entities that these messages refer to."""
    references = References()
    for message in messages:
        references.add(message)
    return references


class _IdField(NamedTuple):
    """A field that holds ids of these kinds, or structs with such fields if it has no kinds."""

    name: str
    kinds: tuple[str, ...]
    is_tuple: bool


@cache
def _id_fields(struct: type[msgspec.Struct]) -> tuple[_IdField, ...]:
    info = inspect.type_info(struct)
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    return tuple(
        _IdField(field.name, kinds, is_tuple)
        for field in fields
        for kinds, is_tuple in _ids_in(field.type)
    )


def _ids_in(info: inspect.Type) -> Iterator[tuple[tuple[str, ...], bool]]:
    """At most one kind of value of a field's type can hold ids: the other members of a union have none."""
    match info:
        case inspect.Metadata(extra={"entity": tuple() as kinds}):
            yield kinds, False
        case inspect.Metadata(type=inner):
            yield from _ids_in(inner)
        case inspect.UnionType(types=members):
            yield from _first(part for member in members for part in _ids_in(member))
        case inspect.VarTupleType(item_type=item):
            yield from ((kinds, True) for kinds, _ in _ids_in(item))
        case inspect.StructType(cls=struct) if _id_fields(struct):
            yield (), False
        case _:
            return


def _first(parts: Iterable[tuple[tuple[str, ...], bool]]) -> Iterator[tuple[tuple[str, ...], bool]]:
    for part in parts:
        yield part
        return
