"""Cursors: opaque to clients, and stable under inserts, for they name the last row shown and not a number of rows."""

import base64
import binascii
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from sqlalchemy import Column, ColumnElement, and_, or_

from shared.chassis.http.problems import BadRequest, FieldError

T = TypeVar("T")

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def to_cursor(*key: object) -> str:
    """The cursor behind the row with this key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def from_cursor(cursor: str | None, key: type[T]) -> T | None:
    """The key it was made of; raises BadRequest for what is no cursor of ours."""
    if cursor is None:
        return None
    try:
        padding = "=" * (-len(cursor) % 4)
        text = base64.b64decode(cursor + padding, b"-_", validate=True)
        return msgspec.json.decode(text, type=key)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise BadRequest(FieldError(field="cursor", message="not a cursor of ours")) from error


def older(
    at: Column[datetime], key: Column[str], than: tuple[datetime, str]
) -> ColumnElement[bool]:
    """Rows behind `than`, newest first."""
    moment, value = bounded(than[0]), than[1]
    return and_(at <= moment, or_(at < moment, key < value))


def bounded(moment: datetime) -> datetime:
    """A client's time as one that our rows can be compared with; without an offset it is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(aware, EARLIEST), LATEST)
