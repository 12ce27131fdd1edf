"""An event that refers to an entity of which its source has published nothing before."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class UnknownEntity(Exception):
    """The events of this entity cannot be projected: its first one is missing."""


def require(entities: Mapping[str, T], entity_id: str) -> T:
    """The entity. Raises UnknownEntity."""
    if entity_id not in entities:
        raise UnknownEntity(f"{entity_id} is unknown")
    return entities[entity_id]
