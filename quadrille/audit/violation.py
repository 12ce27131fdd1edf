"""What an oracle answers."""

from typing import NamedTuple

from msgspec import Struct


class Violation(Struct, frozen=True):
    """Something that is wrong, with its evidence."""

    check: str
    service: str
    entity: str
    expected: str
    found: str


class Mismatch(NamedTuple):
    """A finding before it is known which check it belongs to."""

    service: str
    entity: str
    expected: object
    found: object
