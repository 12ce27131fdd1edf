"""The AsyncAPI 3.0 document of the shop: a channel for each event's subject, and who publishes and consumes it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from shared import VERSION
from shared.chassis.messages.cloudevents import CONTENT_TYPE, CloudEvent, schema_urn
from shared.chassis.messages.event import Event
from shared.chassis.messages.subjects import STREAM, event_token
from tools.contracts.consumers import Contracts
from tools.contracts.released import Released
from tools.contracts.schemas import components, entity_field

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
DESCRIPTION = f"""Every event of the shop: one service publishes it, others react to it; nothing else connects them.

Each event is a CloudEvent 1.0 in structured mode on the JetStream stream {STREAM}, on the subject
`shop.<source>.<entity id>.<event_in_snake_case>`. Events of one entity keep their order, and each is delivered at least
once: consumers recognize a repeated one by its `id`. Consumers ignore fields that they do not know.
`dataschema` names the schema of `data`: `urn:quadrille:event:OrderCreated:1` is served by every service at
`/contracts/events/OrderCreated/1.json`.
"""
HEADERS = {
    "type": "object",
    "properties": {
        "Content-Type": {"const": CONTENT_TYPE},
        "Nats-Msg-Id": {"type": "string", "description": "The stream stores one message for each."},
    },
}


def asyncapi_document(contracts: Contracts, released: Released, samples: Path) -> Json:
    """Old versions of an event come from the released schemas, because events of them are still read."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Quadrille",
            "version": VERSION,
            "description": DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"broker": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": {
            name: _channel(contracts, event_type)
            for name, event_type in contracts.catalog.event_types.items()
        },
        "operations": dict(_operations(contracts)),
        "components": {
            "messages": dict(_messages(contracts, samples)),
            "schemas": _schemas(contracts, released),
        },
    }


def _channel(contracts: Contracts, event_type: type[Event]) -> Json:
    name = event_type.__name__
    publisher = contracts.catalog.publisher_of(event_type)
    parameters: Json = {
        "entityId": {"description": f"The `{entity_field(event_type)}` of the event's data."}
    }
    if publisher is None:
        parameters["source"] = {
            "description": "The service that publishes it.",
            "enum": sorted(contracts.catalog.sources),
        }
    return {
        "address": f"shop.{publisher or '{source}'}.{{entityId}}.{event_token(name)}",
        "parameters": parameters,
        "messages": {
            message: {"$ref": f"#/components/messages/{message}"}
            for message in _versions(event_type)
        },
    }


def _operations(contracts: Contracts) -> Iterator[tuple[str, Json]]:
    for name, event_type in contracts.catalog.event_types.items():
        publisher = contracts.catalog.publisher_of(event_type)
        for service in [publisher] if publisher else sorted(contracts.catalog.sources):
            yield (
                f"{service}.publishes.{name}",
                _operation("send", service, name, _versions(event_type)[-1:]),
            )
        for service in contracts.consumers[name]:
            yield (
                f"{service}.consumes.{name}",
                _operation("receive", service, name, _versions(event_type)),
            )


def _operation(action: str, service: str, channel: str, messages: Sequence[str]) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "tags": [{"name": service}],
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in messages],
    }


def _versions(event_type: type[Event]) -> list[str]:
    """`OrderCreated.v1` and so on: the names of the event's messages and schemas, the current version last."""
    return [
        f"{event_type.__name__}.v{version}" for version in range(1, event_type.SCHEMA_VERSION + 1)
    ]


def _messages(contracts: Contracts, samples: Path) -> Iterator[tuple[str, Json]]:
    for name, event_type in contracts.catalog.event_types.items():
        source = contracts.catalog.publisher_of(event_type)
        for version, message in enumerate(_versions(event_type), 1):
            attributes = {
                **({"source": {"const": source}} if source else {}),
                "type": {"const": name},
                "dataschema": {"const": schema_urn(name, version)},
                "data": {"$ref": REFERENCE.format(name=message)},
            }
            sample = samples / f"{message}.json"
            yield (
                message,
                {
                    "title": f"{name}, version {version}",
                    "summary": _summary(event_type),
                    "headers": HEADERS,
                    "correlationId": {"location": "$message.payload#/correlationid"},
                    "payload": {
                        "allOf": [
                            {"$ref": REFERENCE.format(name="CloudEvent")},
                            {"type": "object", "properties": attributes},
                        ]
                    },
                    "examples": [{"payload": msgspec.json.decode(sample.read_bytes())}],
                },
            )


def _summary(event_type: type[Event]) -> str:
    return (event_type.__doc__ or "").partition("\n")[0]


def _schemas(contracts: Contracts, released: Released) -> Json:
    event_types = contracts.catalog.event_types.values()
    current = components(*event_types, CloudEvent, ref_template=REFERENCE)
    schemas = dict(current)
    for event_type in event_types:
        schemas.pop(event_type.__name__)
        *earlier, latest = _versions(event_type)
        for version, message in enumerate(earlier, 1):
            schemas |= _earlier(message, released.schema(event_type.__name__, version))
        schemas[latest] = current[event_type.__name__]
    return dict(sorted(schemas.items()))


def _earlier(message: str, document: Json) -> Json:
    """Of an earlier version: it has its own definitions, `OrderCreated.v1.OrderItem`."""
    text = msgspec.json.encode(document).replace(
        b'"#/$defs/', f'"{REFERENCE.format(name=message)}.'.encode()
    )
    schema: Json = msgspec.json.decode(text)
    definitions = schema.pop("$defs", {})
    own = {name: value for name, value in schema.items() if not name.startswith("$")}
    return {message: own, **{f"{message}.{name}": value for name, value in definitions.items()}}
