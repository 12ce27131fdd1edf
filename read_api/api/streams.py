"""Live events over HTTP, of one order or of all services."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import ServerSentEvent

from read_api.api.dependencies import ReadApi
from read_api.api.params import (
    EVENT_STREAM,
    NOT_STORED,
    OF_ORDER,
    RESTRICTED,
    AccessToken,
    LastEventId,
    LastEventIdQuery,
)
from read_api.positions import Positions, of_every_source, parse_positions
from read_api.queries.visibility import Visibility, find_visible, unknown_order
from shared.chassis.http.auth import TOKEN_IN_QUERY, operators_only
from shared.chassis.http.problems import responses
from shared.chassis.http.request_body import ServiceRequest

OPT = {TOKEN_IN_QUERY: True}


@get(
    "/orders/{order_id:str}/stream",
    responses=EVENT_STREAM
    | OF_ORDER
    | responses("projection-behind", "too-many-requests", "too-many-waiting"),
    tags=["orders"],
)
async def stream_order(  # noqa: PLR0917 - Litestar passes them by name
    request: ServiceRequest,
    read_api: NamedDependency[ReadApi],
    order_id: FromPath[str],
    last_event_id: LastEventId = None,
    resume: LastEventIdQuery = None,
    access_token: AccessToken = None,  # noqa: ARG001 - the authentication reads it
) -> ServerSentEvent:
    """An order's events from the first one, then live; an order that was not received yet is waited for.

    It ends when the access token expires, if one was sent: resume it with a new token and the last id.
    """
    positions = _positions(last_event_id or resume) or {}

    async def visible_events() -> Visibility | None:
        return await find_visible(read_api.reader, request.user, order_id)

    visibility = await read_api.consistency.poll_until(order_id, visible_events)
    if visibility is None:
        raise unknown_order(order_id)
    events = read_api.streams.follow(positions, visibility, request.auth)
    return ServerSentEvent(events, headers=NOT_STORED)


@get(
    "/events/stream",
    guards=[operators_only],
    responses=EVENT_STREAM | RESTRICTED | responses("too-many-requests"),
    tags=["events"],
)
async def stream_events(
    request: ServiceRequest,
    read_api: NamedDependency[ReadApi],
    last_event_id: LastEventId = None,
    resume: LastEventIdQuery = None,
    access_token: AccessToken = None,  # noqa: ARG001 - the authentication reads it
) -> ServerSentEvent:
    """Live events of all services; with an id first those that followed it.

    It ends when the access token expires: resume it with a new token and the last id.
    """
    positions = _positions(last_event_id or resume)
    if positions is None:
        positions = of_every_source(read_api.projector.positions)
    events = read_api.streams.follow(positions, None, request.auth)
    return ServerSentEvent(events, headers=NOT_STORED)


def _positions(message_id: str | None) -> Positions | None:
    return parse_positions(message_id, "Last-Event-ID") if message_id else None
