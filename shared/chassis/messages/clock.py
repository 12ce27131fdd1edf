"""The only module that reads the time and generates ids."""

import secrets
import time
from datetime import UTC, datetime
from uuid import UUID

RANDOM_BITS = 74
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_LOW_RANDOM_BITS = 62


def now() -> datetime:
    """The current moment, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the clock


def new_id() -> str:
    """A UUIDv7 (RFC 9562) with 74 random bits; ids of the same millisecond are not ordered.

    Libraries count within a millisecond, so that one id reveals its neighbours; a guest's order id is a secret.
    """
    milliseconds = time.time_ns() // 1_000_000
    high, low = divmod(secrets.randbits(RANDOM_BITS), 1 << _LOW_RANDOM_BITS)
    return str(UUID(int=milliseconds << 80 | _VERSION_7 | high << 64 | _VARIANT | low))
