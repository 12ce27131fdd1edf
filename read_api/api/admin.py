"""What only admins see, over HTTP: shipments, customers, and the combined log."""

from functools import partial
from typing import Annotated, Any

from litestar import Request, Router, delete, get
from litestar.params import FromPath, PathParameter, QueryParameter
from litestar.response import ServerSentEvent

from read_api import divergence, queries
from read_api.api.dependencies import Parts
from read_api.api.limits import limiting_streams
from read_api.api.params import (
    EVENT_STREAM,
    NOT_STORED,
    RESTRICTED,
    AccessToken,
    Cursor,
    LastEventId,
    LastEventIdQuery,
    PageSize,
    Words,
)
from read_api.divergence import HeldFilter
from read_api.event_stream import everything_until_now
from read_api.models import ShipmentStatus
from read_api.positions import parse_positions
from read_api.queries import EventFilter
from read_api.schemas import CustomerPage, EventPage, HeldEventPage, ShipmentPage
from shared.chassis.http.auth import TOKEN_IN_QUERY, Access, Caller, admin_only
from shared.chassis.http.problems import responses
from shared.chassis.messages.rejection import Rejected

Status = Annotated[ShipmentStatus | None, QueryParameter(description="only those with this status")]
Type = Annotated[str | None, QueryParameter(name="type", description="e.g. StockReserved")]
Source = Annotated[str | None, QueryParameter(description="its publisher, e.g. inventory")]
Key = Annotated[
    str | None, QueryParameter(description="the order, product or customer it is about")
]
LAST_POSITION = 10**18 - 1
Position = Annotated[int, PathParameter(ge=1, le=LAST_POSITION)]
OfPosition = Annotated[
    int | None,
    QueryParameter(
        name="position", ge=1, le=LAST_POSITION, description="only those that claim this position"
    ),
]


def router(parts: Parts) -> Router:
    """`/shipments`, `/customers` and `/events`."""
    reads = parts.reads

    @get("/shipments", responses=RESTRICTED, tags=["shipments"])
    async def list_shipments(
        status: Status = None, cursor: Cursor = None, limit: PageSize = 50
    ) -> ShipmentPage:
        """Shipments, newest first."""
        return await reads.run(
            partial(queries.list_shipments, status=status, cursor=cursor, limit=limit)
        )

    @get("/customers", responses=RESTRICTED, tags=["customers"])
    async def list_customers(
        words: Words = "", cursor: Cursor = None, limit: PageSize = 50
    ) -> CustomerPage:
        """Who has signed up, newest first, or who of them is found by id, address or name."""
        return await reads.run(
            partial(queries.list_customers, words=words, cursor=cursor, limit=limit)
        )

    @get("/events", responses=RESTRICTED, tags=["events"])
    async def list_events(
        event_type: Type = None,
        source: Source = None,
        key: Key = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> EventPage:
        """Every event of every service, newest first."""
        wanted = EventFilter(event_type=event_type, source=source, key=key)
        return await reads.run(
            partial(queries.list_events, wanted=wanted, cursor=cursor, limit=limit)
        )

    @get("/events/held", responses=RESTRICTED, tags=["events"])
    async def list_held_events(
        source: Source = None,
        position: OfPosition = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> HeldEventPage:
        """Events that were received and are not applied: they wait, or contradict what was applied."""
        wanted = HeldFilter(source=source, position=position)
        return await reads.run(
            partial(divergence.list_held, wanted=wanted, cursor=cursor, limit=limit)
        )

    @delete(
        "/events/held/{source:str}/{position:int}/{event_id:str}",
        responses=RESTRICTED | responses(404),
        tags=["events"],
    )
    async def forget_held_event(
        source: FromPath[str], position: Position, event_id: FromPath[str]
    ) -> None:
        """Remove a held event. The applied ones stay as they are, and a gap stays a gap."""
        if not await parts.projector.forget(source, position, event_id):
            detail = f"no event {event_id} is held at position {position} of {source}"
            raise Rejected("unknown-held-event", detail)

    @get(
        "/events/stream",
        responses=EVENT_STREAM | RESTRICTED | responses(429),
        middleware=[limiting_streams(parts.limits)],
        opt={TOKEN_IN_QUERY: True},
        tags=["events"],
    )
    async def stream_events(
        request: Request[Caller, Access | None, Any],
        last_event_id: LastEventId = None,
        resume: LastEventIdQuery = None,
        access_token: AccessToken = None,  # noqa: ARG001 - read before, by whoever finds out who calls
    ) -> ServerSentEvent:
        """Events as they come; with an id, all that came behind it first.

        It ends when the access token expires: resume it with a new token and the last id.
        """
        given = last_event_id or resume
        seen = (
            parse_positions(given, "Last-Event-ID")
            if given
            else everything_until_now(parts.projector.positions)
        )
        return ServerSentEvent(parts.streams.follow(seen, None, request.auth), headers=NOT_STORED)

    return Router(
        "/",
        route_handlers=[
            list_shipments,
            list_customers,
            list_events,
            list_held_events,
            forget_held_event,
            stream_events,
        ],
        guards=[admin_only],
    )
