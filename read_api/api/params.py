"""The parameters and responses that several routes share."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter

from read_api.positions import MAX_LENGTH
from read_api.queries.search import MAX_CHARACTERS, MAX_SHORT_WORDS, MIN_INDEXED_LENGTH
from shared.chassis.http.auth import TOKEN_IN_QUERY
from shared.chassis.http.problems import BadRequest, FieldError, responses

NOT_STORED = {"Cache-Control": "no-store"}
"""Of event streams: Litestar would let caches keep them."""

Cursor = Annotated[
    str | None,
    QueryParameter(description="`nextCursor` of the page before; the first page without it"),
]
PageSize = Annotated[int, QueryParameter(ge=1, le=200, description="entries on a page")]
Words = Annotated[
    str,
    QueryParameter(
        name="q",
        max_length=MAX_CHARACTERS,
        description="words or parts of words; all must occur; at most "
        f"{MAX_SHORT_WORDS} of products may be shorter than {MIN_INDEXED_LENGTH} characters",
    ),
]
TimeZone = Annotated[
    str,
    QueryParameter(
        name="timezone", max_length=64, description="of the days: an IANA name, e.g. Asia/Tokyo"
    ),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(
        name="Last-Event-ID",
        max_length=MAX_LENGTH,
        description="resume after the message with this id",
    ),
]
LastEventIdQuery = Annotated[
    str | None,
    QueryParameter(
        name="lastEventId",
        max_length=MAX_LENGTH,
        description="the same, where no header can be set",
    ),
]
AccessToken = Annotated[
    str | None,
    QueryParameter(
        name=TOKEN_IN_QUERY, description="the access token, where no `Authorization` can be set"
    ),
]

EVENT_STREAM = {
    200: ResponseSpec(
        str,
        media_type="text/event-stream",
        description="Server-sent events: `event` is its type, `data` as in `/events`, `id` resumes",
        generate_examples=False,
    )
}

PUBLIC = responses("projection-behind")
OF_ORDER = responses("projection-behind", "unknown-order")
RESTRICTED = responses("projection-behind")


def parse_time(text: str | None, field: str) -> datetime | None:
    """The time in a query parameter. Raises BadRequest.

    Litestar would also read a number, as seconds since 1970.
    """
    try:
        return msgspec.convert(text, datetime | None)
    except msgspec.ValidationError as error:
        message = "expected a time, e.g. 2026-11-20T09:00:00Z"
        raise BadRequest(FieldError(field=field, message=message)) from error
