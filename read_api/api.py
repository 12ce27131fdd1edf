"""Every query of the shop over HTTP, and live events."""

from datetime import datetime
from functools import partial
from typing import Annotated

from litestar import Router, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import ServerSentEvent

from read_api import queries
from read_api.documents import (
    EventPage,
    OrderDetail,
    OrderPage,
    ProductPage,
    ProductView,
    ShipmentPage,
    StockPage,
    Timeline,
)
from read_api.projector import Projector
from read_api.queries import EventFilter, OrderFilter
from read_api.stream import Streams, everything_until_now, parse_seen
from read_api.views import OrderStatus, ShipmentStatus
from shared.database import Database
from shared.problem import responses

PageSize = Annotated[int, Parameter(ge=1, le=200)]
Since = Annotated[datetime | None, Parameter(query="from", description="created then or later")]
Until = Annotated[datetime | None, Parameter(query="to", description="created before")]
UserId = Annotated[str | None, Parameter(query="userId")]
Type = Annotated[str | None, Parameter(query="type", description="e.g. StockReserved")]
LastEventId = Annotated[
    str | None,
    Parameter(header="Last-Event-ID", description="resume behind the message with this id"),
]
LastEventIdQuery = Annotated[
    str | None, Parameter(query="lastEventId", description="the same, where no header can be set")
]

EVENT_STREAM = {
    200: ResponseSpec(
        str,
        media_type="text/event-stream",
        description="Server-sent events: `event` is its type, `data` as in `/events`, `id` resumes",
        generate_examples=False,
    ),
    **responses(400),
}


def orders_router(reads: Database, streams: Streams) -> Router:
    """Orders, each with its story."""

    @get("/", responses=responses(400))
    async def list_orders(  # noqa: PLR0917 - all of them are named
        status: OrderStatus | None = None,
        user_id: UserId = None,
        since: Since = None,
        until: Until = None,
        cursor: str | None = None,
        limit: PageSize = 50,
    ) -> OrderPage:
        """Orders, newest first."""
        wanted = OrderFilter(status=status, user_id=user_id, since=since, until=until)
        return await reads.run(
            partial(queries.list_orders, wanted=wanted, cursor=cursor, limit=limit)
        )

    @get("/{order_id:str}", responses=responses(400, 404))
    async def show_order(order_id: str) -> OrderDetail:
        """One order with its items, stock, shipment and mails."""
        return await reads.run(partial(queries.show_order, order_id=order_id))

    @get("/{order_id:str}/timeline", responses=responses(400, 404))
    async def show_timeline(order_id: str) -> Timeline:
        """Every event of an order, causes before effects, with who made it and how long it took."""
        return await reads.run(partial(queries.show_timeline, order_id=order_id))

    @get("/{order_id:str}/stream", responses=EVENT_STREAM)
    async def stream_order(
        order_id: str, last_event_id: LastEventId = None, resume: LastEventIdQuery = None
    ) -> ServerSentEvent:
        """An order's events from its beginning, then as they come; one not heard of yet is waited for."""
        seen = parse_seen(given) if (given := last_event_id or resume) else {}
        return ServerSentEvent(streams.follow(seen, order_id))

    return Router(
        "/orders",
        route_handlers=[list_orders, show_order, show_timeline, stream_order],
        tags=["orders"],
    )


def catalogue_router(reads: Database) -> Router:
    """Products and their stock."""

    @get("/products", responses=responses(400))
    async def list_products(cursor: str | None = None, limit: PageSize = 50) -> ProductPage:
        """The catalogue with its stock."""
        return await reads.run(partial(queries.list_products, cursor=cursor, limit=limit))

    @get("/products/{product_id:str}", responses=responses(400, 404))
    async def show_product(product_id: str) -> ProductView:
        """One product with its stock."""
        return await reads.run(partial(queries.show_product, product_id=product_id))

    @get("/inventory", responses=responses(400))
    async def list_stock(cursor: str | None = None, limit: PageSize = 50) -> StockPage:
        """The stock of every product, those not sold any more included."""
        return await reads.run(partial(queries.list_stock, cursor=cursor, limit=limit))

    return Router("/", route_handlers=[list_products, show_product, list_stock], tags=["catalogue"])


def shipments_router(reads: Database) -> Router:
    """Shipments."""

    @get("/", responses=responses(400))
    async def list_shipments(
        status: ShipmentStatus | None = None, cursor: str | None = None, limit: PageSize = 50
    ) -> ShipmentPage:
        """Shipments, newest first."""
        return await reads.run(
            partial(queries.list_shipments, status=status, cursor=cursor, limit=limit)
        )

    return Router("/shipments", route_handlers=[list_shipments], tags=["shipments"])


def events_router(reads: Database, streams: Streams, projector: Projector) -> Router:
    """The combined log."""

    @get("/", responses=responses(400))
    async def list_events(
        event_type: Type = None,
        source: str | None = None,
        key: str | None = None,
        cursor: str | None = None,
        limit: PageSize = 50,
    ) -> EventPage:
        """Every event of every service, newest first."""
        wanted = EventFilter(event_type=event_type, source=source, key=key)
        return await reads.run(
            partial(queries.list_events, wanted=wanted, cursor=cursor, limit=limit)
        )

    @get("/stream", responses=EVENT_STREAM)
    async def stream_events(
        last_event_id: LastEventId = None, resume: LastEventIdQuery = None
    ) -> ServerSentEvent:
        """Events as they come; with an id, all that came behind it first."""
        given = last_event_id or resume
        seen = parse_seen(given) if given else everything_until_now(projector.positions)
        return ServerSentEvent(streams.follow(seen, None))

    return Router("/events", route_handlers=[list_events, stream_events], tags=["events"])


def routers(reads: Database, streams: Streams, projector: Projector) -> list[Router]:
    """All routes of this API."""
    return [
        orders_router(reads, streams),
        catalogue_router(reads),
        shipments_router(reads),
        events_router(reads, streams, projector),
    ]
