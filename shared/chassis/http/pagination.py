"""Pages of a list, by cursors. A cursor names the last row of a page, not a number, so inserts neither repeat nor hide rows."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from litestar.params import KwargDefinition, QueryParameter
from sqlalchemy import ColumnElement, Select, UnaryExpression, and_, or_
from sqlalchemy.sql.operators import desc_op

from shared.chassis.http.problems import BadRequest, FieldError

T = TypeVar("T")
K = TypeVar("K", bound=tuple[Any, ...])
R = TypeVar("R", bound=tuple[Any, ...])
Row = TypeVar("Row")
View = TypeVar("View")

Cursor = Annotated[str | None, QueryParameter(description="`nextCursor` of the page before")]
PageSize = Annotated[int, QueryParameter(ge=1, le=200)]

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True, rename="camel"):
    """A part of a list; `next_cursor` asks for the next part, and is null on the last."""

    items: Sequence[T]
    next_cursor: str | None


def schema_name(name: str) -> KwargDefinition:
    """What names a generic type in the OpenAPI document.

    `OrderPage = Annotated[Page[OrderView], schema_name("OrderPage")]`
    """
    return KwargDefinition(schema_component_key=name)


def page_of(
    rows: Sequence[Row], limit: int, view: Callable[[Row], View], cursor: Callable[[Row], str]
) -> Page[View]:
    """The page of the first `limit` rows, of up to `limit + 1`: one more than that means that there is a next page."""
    on_page = rows[:limit]
    is_last = len(rows) <= limit
    return Page(
        items=[view(row) for row in on_page], next_cursor=None if is_last else cursor(on_page[-1])
    )


class Keyset(Generic[K]):
    """A list's sort order; the sort key of a page's last row is the cursor of the next page.

    `Keyset(tuple[datetime, str], created_at.desc(), order_id.desc())`: together the columns must be unique.
    """

    def __init__(self, key: type[K], *order: UnaryExpression[Any]) -> None:
        self._key = key
        self._order = order

    def select(self, query: Select[R], cursor: str | None, limit: int) -> Select[R]:
        """The rows of the page after `cursor`, and one more that shows whether it is the last. Raises BadRequest."""
        key = from_cursor(cursor, self._key)
        if key is not None:
            query = query.where(_after(self._order, key))
        return query.order_by(*self._order).limit(limit + 1)


def _after(order: Sequence[UnaryExpression[Any]], key: Sequence[Any]) -> ColumnElement[bool]:
    """The rows behind that with this sort key.

    The first column is also compared alone, so that an index on it narrows the search.
    """
    column, value = order[0].element, key[0]
    if isinstance(value, datetime):
        value = bounded(value)
    is_descending = order[0].modifier is desc_op
    is_after: ColumnElement[bool] = column < value if is_descending else column > value
    if len(order) == 1:
        return is_after
    is_not_before = column <= value if is_descending else column >= value
    return and_(is_not_before, or_(is_after, _after(order[1:], key[1:])))


def to_cursor(*key: object) -> str:
    """The cursor of the row with this sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def from_cursor(cursor: str | None, key: type[K]) -> K | None:
    """The sort key in a cursor. Raises BadRequest if it is not one that this service has made."""
    if cursor is None:
        return None
    try:
        padding = "=" * (-len(cursor) % 4)
        text = base64.b64decode(cursor + padding, b"-_", validate=True)
        decoded: K = msgspec.json.decode(text, type=key)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise BadRequest(FieldError(field="cursor", message="not a cursor of ours")) from error
    return decoded


def bounded(moment: datetime) -> datetime:
    """A client's time as one that rows can be compared with; without an offset it is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(aware, EARLIEST), LATEST)
