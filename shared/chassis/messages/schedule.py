"""Tasks that an event schedules or cancels."""

from typing import Any

import msgspec


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Make the task due after `delay_seconds`; an existing one with the same kind and key is replaced."""

    kind: str
    key: str
    delay_seconds: float = 0
    payload: dict[str, Any] = {}
    only_if_missing: bool = False
    """An existing one stays as it is."""


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """Delete the task, if it exists."""

    kind: str
    key: str


Change = Schedule | Cancel
