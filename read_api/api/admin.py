"""What only operators may read: shipments, the combined log and held events; and customers and carts, for admins only."""

from typing import Annotated

from litestar import Controller, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, PathParameter, QueryParameter

from read_api.api.dependencies import ReadApi
from read_api.api.params import RESTRICTED, Cursor, PageSize, Words
from read_api.models import ShipmentStatus
from read_api.queries import carts, customers, events, held_events, shipments
from read_api.queries.events import EventFilter
from read_api.queries.held_events import HeldEventFilter
from read_api.schemas import (
    CartPage,
    CartView,
    CustomerPage,
    CustomerView,
    EventPage,
    HeldEventPage,
    ShipmentPage,
)
from shared.chassis.http.auth import admin_only, operators_only
from shared.chassis.http.problems import responses
from shared.chassis.messages.rejection import Rejected

Status = Annotated[ShipmentStatus | None, QueryParameter(description="only those with this status")]
Type = Annotated[str | None, QueryParameter(name="type", description="e.g. StockReserved")]
Source = Annotated[str | None, QueryParameter(description="its publisher, e.g. inventory")]
Key = Annotated[str | None, QueryParameter(description="the id of its order, product or customer")]
LAST_POSITION = 10**18 - 1
Position = Annotated[int, PathParameter(ge=1, le=LAST_POSITION)]
OfPosition = Annotated[
    int | None,
    QueryParameter(
        name="position", ge=1, le=LAST_POSITION, description="only those that claim this position"
    ),
]


class OperatorController(Controller):
    """`/shipments` and `/events`."""

    guards = (operators_only,)

    @get("/shipments", responses=RESTRICTED, tags=["shipments"])
    async def list_shipments(
        self,
        read_api: NamedDependency[ReadApi],
        status: Status = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> ShipmentPage:
        """Shipments, newest first."""
        return await shipments.list_shipments(read_api.reader, status, cursor, limit)

    @get("/events", responses=RESTRICTED, tags=["events"])
    async def list_events(  # noqa: PLR0917 - Litestar passes them by name
        self,
        read_api: NamedDependency[ReadApi],
        event_type: Type = None,
        source: Source = None,
        key: Key = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> EventPage:
        """Every event of every service, newest first."""
        event_filter = EventFilter(event_type=event_type, source=source, key=key)
        return await events.list_events(read_api.reader, event_filter, cursor, limit)

    @get("/events/held", responses=RESTRICTED, tags=["events"])
    async def list_held_events(
        self,
        read_api: NamedDependency[ReadApi],
        source: Source = None,
        position: OfPosition = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> HeldEventPage:
        """Events that were received and are not applied: they wait, or contradict an applied event."""
        held_filter = HeldEventFilter(source=source, position=position)
        return await held_events.list_held_events(read_api.reader, held_filter, cursor, limit)

    @delete(
        "/events/held/{source:str}/{position:int}/{event_id:str}",
        responses=RESTRICTED | responses("unknown-held-event"),
        tags=["events"],
    )
    async def forget_held_event(
        self,
        read_api: NamedDependency[ReadApi],
        source: FromPath[str],
        position: Position,
        event_id: FromPath[str],
    ) -> None:
        """Remove a held event. Applied events stay applied, and a missing event stays missing."""
        if not await read_api.projector.forget(source, position, event_id):
            detail = f"no event {event_id} is held at position {position} of {source}"
            raise Rejected("unknown-held-event", detail)


class AdminController(Controller):
    """`/customers` and `/carts`."""

    guards = (admin_only,)

    @get("/customers", responses=RESTRICTED, tags=["customers"])
    async def list_customers(
        self,
        read_api: NamedDependency[ReadApi],
        words: Words = "",
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> CustomerPage:
        """Customers, newest first: all, or those with these words in id, address or name."""
        return await customers.list_customers(read_api.reader, words, cursor, limit)

    @get(
        "/customers/{user_id:str}",
        responses=RESTRICTED | responses("unknown-customer"),
        tags=["customers"],
    )
    async def show_customer(
        self, read_api: NamedDependency[ReadApi], user_id: FromPath[str]
    ) -> CustomerView:
        """One customer."""
        return await customers.find_customer(read_api.reader, user_id)

    @get("/carts", responses=RESTRICTED, tags=["carts"])
    async def list_carts(
        self, read_api: NamedDependency[ReadApi], cursor: Cursor = None, limit: PageSize = 50
    ) -> CartPage:
        """Customers' carts that are not empty, the latest changed first."""
        return await carts.list_carts(read_api.reader, cursor, limit)

    @get(
        "/carts/{user_id:str}",
        responses=RESTRICTED | responses("unknown-customer"),
        tags=["carts"],
    )
    async def show_cart(
        self, read_api: NamedDependency[ReadApi], user_id: FromPath[str]
    ) -> CartView:
        """One customer's cart, at the prices at which it was filled."""
        return await carts.find_cart(read_api.reader, user_id)
