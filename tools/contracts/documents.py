"""All files of the contracts of events, generated."""

from pathlib import Path

from tools.contracts.asyncapi import asyncapi_document
from tools.contracts.consumers import Contracts
from tools.contracts.released import (
    LOCK,
    LockedEvent,
    Released,
    digest_of,
    encoded,
    schema_path,
)
from tools.contracts.schemas import entity_field, schema_of


def documents(contracts: Contracts, released: Released, samples: Path) -> dict[str, bytes]:
    """By their paths below the directory. The schemas of earlier versions stay as they were released."""
    schemas = {
        name: {
            **{
                version: released.files[schema_path(name, version)] for version in range(1, current)
            },
            current: encoded(schema_of(event_type)),
        }
        for name, event_type in contracts.catalog.event_types.items()
        for current in (event_type.SCHEMA_VERSION,)
    }
    lock = {
        name: LockedEvent(
            publisher=contracts.catalog.publisher_of(event_type),
            entity=entity_field(event_type),
            consumers=contracts.consumers[name],
            schemas={str(version): digest_of(file) for version, file in schemas[name].items()},
        )
        for name, event_type in contracts.catalog.event_types.items()
    }
    return {
        **{
            schema_path(name, version): file
            for name, versions in schemas.items()
            for version, file in versions.items()
        },
        "asyncapi.json": encoded(asyncapi_document(contracts, released, samples)),
        LOCK: encoded(dict(sorted(lock.items()))),
    }
