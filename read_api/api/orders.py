"""Orders over HTTP, each with its story."""

from contextlib import suppress
from functools import partial
from typing import Annotated, Any

from litestar import Request, Router, get
from litestar.exceptions import PermissionDeniedException
from litestar.params import FromPath, QueryParameter
from litestar.response import ServerSentEvent

from read_api import queries, visibility
from read_api.api.dependencies import Parts
from read_api.api.limits import limiting_streams
from read_api.api.params import (
    EVENT_STREAM,
    NOT_STORED,
    PUBLIC_OR_NOTHING,
    RESTRICTED,
    AccessToken,
    Cursor,
    LastEventId,
    LastEventIdQuery,
    PageSize,
    moment,
)
from read_api.models import OrderStatus
from read_api.positions import parse_positions
from read_api.queries import OrderFilter
from read_api.schemas import OrderDetail, OrderPage, Timeline
from read_api.visibility import Visibility
from shared.chassis.http.auth import TOKEN_IN_QUERY, Access, Caller, signed_in_only
from shared.chassis.http.problems import responses
from shared.chassis.messages.rejection import Rejected

AnyRequest = Request[Caller, Access | None, Any]

Status = Annotated[OrderStatus | None, QueryParameter(description="only those with this status")]
UserId = Annotated[
    str | None,
    QueryParameter(name="userId", description="only this customer's; an admin may name anyone"),
]
Since = Annotated[
    str | None,
    QueryParameter(name="from", format="date-time", description="created at this time or later"),
]
Until = Annotated[
    str | None, QueryParameter(name="to", format="date-time", description="created before")
]


def router(parts: Parts) -> Router:
    """The routes under `/orders`."""
    reads = parts.reads

    @get("/", guards=[signed_in_only], responses=RESTRICTED)
    async def list_orders(  # noqa: PLR0917 - all of them are named
        request: AnyRequest,
        status: Status = None,
        user_id: UserId = None,
        since: Since = None,
        until: Until = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> OrderPage:
        """Orders, newest first: one's own, all of them for an admin."""
        caller = request.user
        if not caller.is_admin and user_id not in {None, caller.user_id}:
            raise PermissionDeniedException("userId: these are somebody else's orders")
        query = partial(
            queries.list_orders,
            wanted=OrderFilter(
                status=status,
                user_id=user_id,
                since=moment(since, "from"),
                until=moment(until, "to"),
            ),
            visible=visibility.own_orders(caller),
            cursor=cursor,
            limit=limit,
        )
        return await reads.run(query)

    @get("/{order_id:str}", responses=PUBLIC_OR_NOTHING)
    async def show_order(request: AnyRequest, order_id: FromPath[str]) -> OrderDetail:
        """One order with its items, stock, shipment and mails; a guest's for whoever knows its id."""
        story = await visible_order(request.user, order_id)
        return await reads.run(partial(queries.show_order, story=story))

    @get("/{order_id:str}/timeline", responses=PUBLIC_OR_NOTHING)
    async def show_timeline(request: AnyRequest, order_id: FromPath[str]) -> Timeline:
        """Every event of an order, causes before effects, with who made it and how long it took."""
        story = await visible_order(request.user, order_id)
        return await reads.run(partial(queries.show_timeline, story=story))

    @get(
        "/{order_id:str}/stream",
        responses=EVENT_STREAM | PUBLIC_OR_NOTHING | responses(429),
        middleware=[limiting_streams(parts.limits)],
        opt={TOKEN_IN_QUERY: True},
    )
    async def stream_order(
        request: AnyRequest,
        order_id: FromPath[str],
        last_event_id: LastEventId = None,
        resume: LastEventIdQuery = None,
        access_token: AccessToken = None,  # noqa: ARG001 - read before, by whoever finds out who calls
    ) -> ServerSentEvent:
        """An order's events from its beginning, then as they come; an order not received yet is waited for a while.

        It ends when the access token expires, if one was sent: resume it with a new token and the last id.
        """
        seen = parse_positions(given, "Last-Event-ID") if (given := last_event_id or resume) else {}

        async def found() -> Visibility | None:
            with suppress(Rejected):
                return await visible_order(request.user, order_id)
            return None

        story = await parts.freshness.until_found(order_id, found)
        if story is None:
            raise visibility.unknown_order(order_id)
        return ServerSentEvent(parts.streams.follow(seen, story, request.auth), headers=NOT_STORED)

    async def visible_order(caller: Caller, order_id: str) -> Visibility:
        """What the caller may see of the order; raises Rejected."""
        return await reads.run(partial(visibility.story, caller=caller, order_id=order_id))

    return Router(
        "/orders",
        route_handlers=[list_orders, show_order, show_timeline, stream_order],
        tags=["orders"],
    )
