"""The JSON Schema of an event's `data`, generated from its struct."""

from inspect import cleandoc
from typing import Any

import msgspec

from shared.chassis.messages.cloudevents import schema_urn
from shared.chassis.messages.event import Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(event_type: type[Event]) -> dict[str, Any]:
    """Of the current version: a complete document, without references to others."""
    name = event_type.__name__
    definitions = components(event_type, ref_template="#/$defs/{name}")
    own = definitions.pop(name)
    return {
        "$schema": DIALECT,
        "$id": schema_urn(name, event_type.SCHEMA_VERSION),
        **own,
        **({"$defs": definitions} if definitions else {}),
    }


def components(*types: type[msgspec.Struct], ref_template: str) -> dict[str, Any]:
    """The schemas of the types and of those they are made of, by name."""
    _, generated = msgspec.json.schema_components(types, ref_template=ref_template)
    schemas: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(generated))
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    return schemas


def entity_field(event_type: type[Event]) -> str:
    """The name in JSON of the field with the entity's id."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(event_type)}
    return names[event_type.ENTITY]
