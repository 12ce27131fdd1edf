"""Orders over HTTP, each with its timeline."""

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.exceptions import PermissionDeniedException
from litestar.params import FromPath, QueryParameter

from read_api.api.dependencies import ReadApi
from read_api.api.params import OF_ORDER, RESTRICTED, Cursor, PageSize, parse_time
from read_api.queries import orders
from read_api.queries.orders import OrderFilter
from read_api.queries.timeline import find_timeline
from read_api.schemas import OrderDetail, OrderPage, Timeline
from shared.chassis.http.auth import signed_in_only
from shared.chassis.http.links import MAX_LENGTH, Purpose
from shared.chassis.http.problems import BadRequest, FieldError, responses
from shared.chassis.http.request_body import ServiceRequest
from shared.chassis.messages.rejection import bad_link
from shared.contracts.order import OrderStatus
from shared.order_number import parse_order_number

Status = Annotated[OrderStatus | None, QueryParameter(description="only those with this status")]
UserId = Annotated[
    str | None,
    QueryParameter(name="userId", description="only this customer's; an operator may name anyone"),
]
Number = Annotated[
    str | None,
    QueryParameter(
        name="number", max_length=20, description="only orders with this number, e.g. 7K3F-92QM"
    ),
]
Email = Annotated[
    str | None,
    QueryParameter(
        name="email",
        max_length=254,
        description="only orders with this address, or of the customer who has it; for an operator",
    ),
]
ProductId = Annotated[
    str | None,
    QueryParameter(name="productId", description="only orders with this product"),
]
Link = Annotated[
    str | None,
    QueryParameter(
        max_length=MAX_LENGTH, description="from a mail; shows this order without an account"
    ),
]
Since = Annotated[
    str | None,
    QueryParameter(name="from", format="date-time", description="created at this time or later"),
]
Until = Annotated[
    str | None, QueryParameter(name="to", format="date-time", description="created before")
]


class OrderController(Controller):
    """The routes under `/orders`."""

    path = "/orders"
    tags = ("orders",)

    @get("/", guards=[signed_in_only], responses=RESTRICTED | responses("forbidden"))
    async def list_orders(  # noqa: PLR0917 - Litestar passes them by name
        self,
        request: ServiceRequest,
        read_api: NamedDependency[ReadApi],
        status: Status = None,
        user_id: UserId = None,
        number: Number = None,
        email: Email = None,
        product_id: ProductId = None,
        since: Since = None,
        until: Until = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> OrderPage:
        """The caller's orders, newest first; all orders for an operator."""
        caller = request.user
        if not caller.is_operator and user_id not in {None, caller.user_id}:
            raise PermissionDeniedException("userId: these are somebody else's orders")
        if not caller.is_operator and email is not None:
            raise PermissionDeniedException("email: only an operator or an admin may search by it")
        order_filter = OrderFilter(
            status=status,
            user_id=user_id,
            number=_parse_number(number),
            email=email,
            product_id=product_id,
            since=parse_time(since, "from"),
            until=parse_time(until, "to"),
        )
        return await orders.list_orders(read_api.reader, caller, order_filter, cursor, limit)

    @get("/{order_id:str}", responses=OF_ORDER | responses("bad-link"))
    async def show_order(
        self,
        request: ServiceRequest,
        read_api: NamedDependency[ReadApi],
        order_id: FromPath[str],
        link: Link = None,
    ) -> OrderDetail:
        """One order with its items, stock, shipment and mails; a guest's order for everyone with its id."""
        has_link = link is not None and await _is_of_order(read_api, link, order_id)
        return await orders.find_order(read_api.reader, request.user, order_id, has_link=has_link)

    @get("/{order_id:str}/timeline", responses=OF_ORDER)
    async def show_timeline(
        self, request: ServiceRequest, read_api: NamedDependency[ReadApi], order_id: FromPath[str]
    ) -> Timeline:
        """Every event of an order, causes before effects, with its service and its latency."""
        return await find_timeline(read_api.reader, request.user, order_id)


async def _is_of_order(read_api: ReadApi, link: str, order_id: str) -> bool:
    """Raises Rejected for a link that is not valid, or another order's."""
    if await read_api.links.subject_of(link, Purpose.ORDER) != order_id:
        raise bad_link()
    return True


def _parse_number(text: str | None) -> str | None:
    """Raises BadRequest."""
    if text is None:
        return None
    number = parse_order_number(text)
    if number is None:
        message = "expected an order number, e.g. 7K3F-92QM"
        raise BadRequest(FieldError(field="number", message=message))
    return number
