"""An admin's request to publish events again that the broker has lost or refused."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from shared.chassis.http.auth import operators_only
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.problems import BadRequest, FieldError, responses
from shared.chassis.http.request_body import RequestBody
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage import event_log
from shared.chassis.storage.database import Database

Position = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
FIELDS = {"first": "from", "last": "to"}


class Range(RequestBody, frozen=True, kw_only=True, rename=FIELDS):
    """Positions in the service's event log; without `to`, up to its end."""

    first: Position
    last: Position | None = None


class Resending(msgspec.Struct, frozen=True, kw_only=True, rename=FIELDS):
    """What will be published again."""

    first: int
    last: int
    events: int


class Resender:
    """Publishes events of the log again."""

    def __init__(self, reads: Database, resend: Callable[[int, int], Awaitable[None]]) -> None:
        self.reads = reads
        self.resend = resend


@post(
    "/events/resend",
    status_code=202,
    guards=[operators_only],
    opt=WITHOUT_KEY,
    responses=responses("unknown-position"),
    tags=["events"],
)
async def resend_events(data: JSONBody[Range], resender: NamedDependency[Resender]) -> Resending:
    """Publish events again, as after a loss of the stream. Services that have handled them ignore them."""
    end = await resender.reads.run(event_log.last_position)
    if data.last is not None and data.last < data.first:
        raise BadRequest(FieldError(field="to", message="less than from"))
    if max(data.first, data.last or 0) > end:
        raise Rejected("unknown-position", f"the event log ends at {end}")
    last = data.last or end
    await resender.resend(data.first, last)
    return Resending(first=data.first, last=last, events=last - data.first + 1)
