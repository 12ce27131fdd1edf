"""Examples of the schemas of an OpenAPI document, put together from one value for each name of a field."""

import re
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

REF = "#/components/schemas/"
_WORDS = re.compile(r"_(\w)")


class Examples:
    """Makes the examples, and notes which fields have no value."""

    def __init__(self, values: Mapping[str, object]) -> None:
        """By `Schema`, `Schema.field`, `operationId.parameter`, or the name of the field or parameter alone."""
        self._values = values
        self.missing: set[str] = set()

    def add_to(self, components: dict[str, Json]) -> None:
        """Add an example to each schema of an object."""
        for name, schema in components.items():
            if schema.get("type") == "object":
                schema["examples"] = [self._of_component(name, components)]

    def of_parameter(self, operation_id: str, name: str, schema: Json) -> object | None:
        """None where the schema suffices: a choice, or a default."""
        if {"enum", "default", "$ref"} & schema.keys():
            return None
        field = _WORDS.sub(lambda match: match[1].upper(), name)
        for key in (f"{operation_id}.{name}", name, field):
            if key in self._values:
                return self._values[key]
        self.missing.add(f"{operation_id}.{name}")
        return None

    def _of_component(self, name: str, components: dict[str, Json]) -> object:
        if name in self._values:
            return self._values[name]
        schema = components[name]
        if "enum" in schema:
            return schema["enum"][0]
        return {
            field: self._of_field(name, field, value, components)
            for field, value in schema.get("properties", {}).items()
        }

    def _of_field(
        self, owner: str, field: str, schema: Json, components: dict[str, Json]
    ) -> object:
        for key in (f"{owner}.{field}", field):
            if key in self._values:
                return self._values[key]
        return self._of_schema(f"{owner}.{field}", schema, components)

    def _of_schema(self, name: str, schema: Json, components: dict[str, Json]) -> object:
        match schema:
            case {"$ref": str(reference)}:
                return self._of_component(reference.removeprefix(REF), components)
            case {"anyOf": [first, *_]}:
                return self._of_schema(name, first, components)
            case {"enum": [value, *_]}:
                return value
            case {"type": "array", "items": dict(items)}:
                return [self._of_schema(name, items, components)]
            case {"type": "boolean"}:
                return False
            case _:
                self.missing.add(name)
                return None
