"""What an event must find already told."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class UnknownEntity(Exception):
    """An event is about something of which its source has not spoken before."""


def known(entities: Mapping[str, T], key: str) -> T:
    """The entity; raises UnknownEntity."""
    if key not in entities:
        raise UnknownEntity(f"nothing is known of {key}")
    return entities[key]
