"""What an event makes due later, or no longer due."""

from typing import Any

import msgspec


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Do this in so many seconds."""

    kind: str
    key: str
    delay_seconds: float = 0
    payload: dict[str, Any] = {}


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """Do not do it any more."""

    kind: str
    key: str


Change = Schedule | Cancel
