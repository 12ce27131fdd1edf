"""What a check reports."""

from typing import NamedTuple

from msgspec import Struct, field


class Violation(Struct, frozen=True):
    """An invariant that does not hold, with its evidence."""

    check: str
    service: str
    entity: str
    expected: str
    actual: str = field(name="found")
    remedy: str = ""
    """What an operator does."""


class Mismatch(NamedTuple):
    """A violation as a check yields it: without the check's own name, the values not yet as text."""

    service: str
    entity: str
    expected: object
    actual: object
