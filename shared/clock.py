"""The one place that reads the time and makes ids."""

from datetime import UTC, datetime

import uuid_utils


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the clock


def new_id() -> str:
    """A UUIDv7: unique, and sorting by the time it was made."""
    return str(uuid_utils.uuid7())
