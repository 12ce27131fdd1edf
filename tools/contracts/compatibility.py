"""What differs between two versions of a JSON Schema for those who read what conforms to the first.

Covers the keywords that msgspec generates. Whatever it cannot compare counts as a narrowing.
"""

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

Schema = Mapping[str, Any]

LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
STRUCTURE = ("type", "enum", "const", "anyOf", "properties", "required", "additionalProperties")
WITHOUT_EFFECT = ("title", "description", "default", "examples", "$schema", "$id", "$defs")
COMPARED = frozenset({*LOWER_BOUNDS, *UPPER_BOUNDS, *STRUCTURE, *WITHOUT_EFFECT, "items"})


class Kind(Enum):
    """What kind of difference it is."""

    REMOVED = auto()
    REQUIRED = auto()
    NARROWED = auto()
    DEFAULT = auto()


class Change(NamedTuple):
    """`path` is the field's, such as `items[].price`; empty for the document itself."""

    path: str
    kind: Kind
    detail: str

    def __str__(self) -> str:
        return f"{self.path or 'the event'}: {self.detail}"


def incompatible_changes(old: Schema, new: Schema) -> list[Change]:
    """Why documents of the old schema may not be readable, or may lose fields or meaning, as documents of the new one."""
    return list(_compared(_inlined(old, old), _inlined(new, new), ""))


def widened_fields(old: Schema, new: Schema) -> list[str]:
    """Fields that readers of the old schema may refuse now; they ignore fields that were added."""
    backwards = incompatible_changes(new, old)
    kinds = {Kind.NARROWED, Kind.REQUIRED}
    return sorted({change.path for change in backwards if change.kind in kinds})


def _inlined(node: Any, document: Schema) -> Any:  # noqa: ANN401 - JSON
    """The node with its references replaced by what they refer to."""
    match node:
        case {"$ref": str(reference)}:
            return _inlined(document["$defs"][reference.rpartition("/")[2]], document)
        case dict():
            return {
                name: _inlined(value, document) for name, value in node.items() if name != "$defs"
            }
        case list():
            return [_inlined(value, document) for value in node]
        case _:
            return node


def _compared(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    """Each alternative of the old schema has to fit one of the new schema's."""
    alternatives = new.get("anyOf", [new])
    for alternative in old.get("anyOf", [old]):
        # msgspec has at most one alternative of each type.
        same = [other for other in alternatives if _is_same_type(alternative, other)]
        if same:
            yield from _same_type(alternative, same[0], path)
        else:
            accepted = " or ".join(map(_type_name, alternatives))
            detail = f"no longer accepts {_type_name(alternative)}, only {accepted}"
            yield Change(path, Kind.NARROWED, detail)


def _is_same_type(old: Schema, new: Schema) -> bool:
    old_type, new_type = _type_name(old), _type_name(new)
    return new_type in {old_type, "anything"} or (old_type, new_type) == ("integer", "number")


def _type_name(schema: Schema) -> str:
    name = schema.get("type")
    if isinstance(name, str):
        return name
    values = _values(schema)
    if values and all(isinstance(value, str) for value in values):
        return "string"
    return "integer" if values else "anything"


def _values(schema: Schema) -> list[Any] | None:
    """The only values that it accepts, if they are listed."""
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _same_type(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    yield from _compared_values(old, new, path)
    yield from _compared_bounds(old, new, path)
    if "items" in new:
        items = old.get("items", {}), new["items"]
        if all(isinstance(item, dict) for item in items):
            yield from _compared(*items, f"{path}[]")
    yield from _compared_fields(old, new, path)
    yield from _compared_maps(old, new, path)


def _compared_values(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    old_values, new_values = _values(old), _values(new)
    if new_values is None:
        return
    if old_values is None:
        yield Change(path, Kind.NARROWED, f"accepts only {_listed(new_values)}")
    elif removed := [value for value in old_values if value not in new_values]:
        yield Change(path, Kind.NARROWED, f"no longer accepts {_listed(removed)}")


def _compared_bounds(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    old = _with_bounds_of_values(old)
    for name in new.keys() & {*LOWER_BOUNDS, *UPPER_BOUNDS}:
        sign = 1 if name in LOWER_BOUNDS else -1
        if name not in old or (new[name] - old[name]) * sign > 0:
            before = old.get(name, "none")
            yield Change(path, Kind.NARROWED, f"{name} is {new[name]}, was {before}")
    for name in new.keys() - COMPARED:
        if new[name] != old.get(name):
            yield Change(path, Kind.NARROWED, f"{name} is {new[name]!r}, was {old.get(name)!r}")


def _with_bounds_of_values(schema: Schema) -> Schema:
    """The bounds that follow from the listed values."""
    match _values(schema):
        case [str(), *_] as texts:
            lengths = [len(text) for text in texts]
            return {**schema, "minLength": min(lengths), "maxLength": max(lengths)}
        case [int(), *_] as numbers:
            return {**schema, "minimum": min(numbers), "maximum": max(numbers)}
        case _:
            return schema


def _compared_fields(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    old_fields, new_fields = old.get("properties", {}), new.get("properties", {})
    old_required, new_required = old.get("required", ()), new.get("required", ())
    prefix = f"{path}." if path else ""
    for name, field in old_fields.items():
        place = f"{prefix}{name}"
        if name not in new_fields:
            yield Change(place, Kind.REMOVED, _removal(field, new_fields, old_fields))
            continue
        yield from _compared(field, new_fields[name], place)
        if name not in old_required and name in new_required:
            yield Change(place, Kind.REQUIRED, "became required")
        elif name not in old_required and field.get("default") != new_fields[name].get("default"):
            yield Change(place, Kind.DEFAULT, "has another default")
    for name in new_fields.keys() - old_fields.keys():
        if name in new_required:
            yield Change(f"{prefix}{name}", Kind.REQUIRED, "is a new required field")


def _removal(field: Schema, new_fields: Mapping[str, Schema], old_fields: Mapping[str, Any]) -> str:
    """Names the field that looks like the removed one under a new name."""
    similar = [
        name for name, other in new_fields.items() if name not in old_fields and other == field
    ]
    return f"was removed, or renamed to {similar[0]}" if len(similar) == 1 else "was removed"


def _compared_maps(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    """Of an object with fields of any name: the schema of their values."""
    old_values, new_values = (schema.get("additionalProperties") for schema in (old, new))
    if isinstance(old_values, dict) and isinstance(new_values, dict):
        yield from _compared(old_values, new_values, f"{path}{{}}")
    elif isinstance(old_values, dict):
        yield Change(path, Kind.NARROWED, "no longer accepts fields of any name")
    elif new_values is not None and new_values != old_values:
        yield Change(path, Kind.NARROWED, "accepts other fields than before")


def _listed(values: list[Any]) -> str:
    return ", ".join(map(str, values))
