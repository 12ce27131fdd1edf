"""Orders over HTTP."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta
from msgspec.structs import replace
from sqlalchemy import bindparam, select

from order_service.accounts.emails import mailbox
from order_service.addresses.domain import BookAddress
from order_service.carts.domain import CheckOut
from order_service.domain import Command, OrderState
from order_service.orders.domain import NudgeOrder, Order, PlaceOrder, RequestCancellation
from order_service.orders.pricing import RequestedItem
from order_service.orders.store import ORDER_ITEMS, ORDERS
from order_service.request_fields import (
    Delivery,
    Email,
    Reason,
    canonical_email,
    contract_address,
)
from shared.chassis.http.auth import Caller, operators_only, signed_in_only
from shared.chassis.http.client_address import client_address
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.entity_tags import HAS_TAG, IfMatch, entity_tag, tagged, unchanged
from shared.chassis.http.pagination import Page, PageSize, page_of, schema_name
from shared.chassis.http.problems import BadRequest, FieldError, responses
from shared.chassis.http.rate_limits import Limit, Limiter
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.event import Id
from shared.chassis.messages.rejection import Rejected
from shared.chassis.runtime.service import Service
from shared.chassis.storage.idempotency import Reply
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import all_as_json, view_as_json
from shared.contracts import Address, Cancellation, FailedItem, Money, OrderItem, Quantity
from shared.contracts.order import OrderStatus
from shared.settings import ShopSettings

GUEST = "guest"

FromReader = NamedDependency[Reader]
UserId = Annotated[str | None, QueryParameter(name="userId")]


class ItemWanted(RequestBody, frozen=True, kw_only=True):
    """A line of an order; `price`, when given, must be the current list price."""

    product_id: Id
    quantity: Quantity
    price: Money | None = None


class NewOrder(Delivery, frozen=True, kw_only=True):
    """What a customer POSTs. Without items signed-in customers order what is in their cart."""

    user_id: Id | None = None
    email: Email | None = None
    locale: Literal["en", "ja"] | None = None
    items: Annotated[tuple[ItemWanted, ...], Meta(max_length=100)] = ()


class NewCancellation(RequestBody, frozen=True, kw_only=True):
    """Why. The customer may read the `reason`; a `note` is for the shop only, and only the shop may write one."""

    reason: Reason | None = None
    note: Reason | None = None


NO_REASON = NewCancellation()
"""What a request without a body stands for."""


class OrderView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order as the API shows it; money in the currency's minor unit."""

    order_id: str
    order_number: str
    """Short, for people; see `GET /orders?number=` of the read API."""
    user_id: str
    guest: bool
    status: OrderStatus
    items: Sequence[OrderItem]
    total_amount: int
    currency: str
    email: str | None
    locale: str | None
    shipping_address: Address | None
    carrier: str | None
    tracking_number: str | None
    shipped_at: datetime | None
    delivery_overdue_at: datetime | None
    reason: str | None
    cancellation: Cancellation | None
    """Requested and not refused; its note only for operators and admins."""
    failed_items: Sequence[FailedItem]
    created_at: datetime
    updated_at: datetime


OrderPage = Annotated[Page[OrderView], schema_name("OrderPage")]

_ORDERS = select(
    view_as_json(
        OrderView,
        ORDERS,
        items=all_as_json(
            OrderItem, ORDER_ITEMS, ORDER_ITEMS.c.order_id == ORDERS.c.order_id, ORDER_ITEMS.c.line
        ),
    )
)
_ORDER = _ORDERS.where(ORDERS.c.order_id == bindparam("order_id"))
_ORDERS_OF_CUSTOMER = (
    _ORDERS.where(ORDERS.c.user_id == bindparam("user_id"))
    .order_by(ORDERS.c.order_id.desc())
    .limit(bindparam("limit"))
)
# A guest may have used the customer's id as a label: those orders are not the customer's.
_ORDERS_WITHOUT_GUESTS = _ORDERS_OF_CUSTOMER.where(ORDERS.c.guest.is_(False))


def order_view(order: Order) -> OrderView:
    """An order as the API shows it: without its bookkeeping."""
    return OrderView(**{name: getattr(order, name) for name in OrderView.__struct_fields__})


class OrderApi:
    """What the handlers of orders and carts need, as one dependency: each further one costs a task per request."""

    def __init__(self, service: Service[OrderState, Command], settings: ShopSettings) -> None:
        self.commands = service.commands
        self.reader = service.reader
        self.limits = service.limits
        self.settings = settings


FromOrderApi = NamedDependency[OrderApi]


class OrderController(Controller):
    """Orders."""

    path = "/orders"
    tags = ("orders",)

    @post(
        "/",
        responses={
            201: ResponseSpec(OrderView, description="Accepted; its stock is requested"),
            **responses(
                "forbidden",
                "address-not-in-book",
                "order-too-large",
                "cart-empty",
                "price-changed",
                "product-not-for-sale",
                "too-many-requests",
            ),
        },
    )
    async def place_order(
        self, request: ServiceRequest, data: JSONBody[NewOrder], order_api: FromOrderApi
    ) -> Response[bytes]:
        """Place an order. Responds with the whole order, PENDING; events carry it on."""
        buyer_id = _buyer_id(
            request.user, data.user_id, allow_guests=order_api.settings.allow_guests
        )
        recipient = canonical_email(data.email) if data.email else None
        count_order(order_api.limits, request, recipient)
        order_id = new_id()
        command = order_command(data, buyer_id, order_id, request.user, order_api.settings)
        respond = order_reply(order_id, 201, request.user, location=f"/orders/{order_id}")
        return await order_api.commands.execute(request, command, respond)

    @post(
        "/{order_id:str}/cancel",
        status_code=202,
        responses={
            202: ResponseSpec(OrderView, description="Requested; shipping decides"),
            **responses("unknown-order", "order-final", "forbidden", "precondition-failed"),
        },
        opt=HAS_TAG,
    )
    async def cancel_order(
        self,
        request: ServiceRequest,
        order_id: FromPath[str],
        order_api: FromOrderApi,
        data: JSONBody[NewCancellation] = NO_REASON,
        if_match: IfMatch = None,
    ) -> Response[bytes]:
        """Request that the order be stopped. It is CANCELLING until shipping has answered."""
        caller = request.user
        order = await _visible_order(order_api.reader, caller, order_id)
        if data.note is not None and not caller.is_operator:
            raise PermissionDeniedException("note: only the shop may write one; use reason")
        command = RequestCancellation(
            order_id=order_id,
            reason="CUSTOMER",
            by_shop=caller.is_operator and (order.guest or caller.user_id != order.user_id),
            explanation=data.reason,
            note=data.note,
        )

        def as_seen(state: OrderState) -> OrderView | None:
            order = state.orders.get(order_id)
            return None if order is None else visible_to(caller, order_view(order))

        respond = order_reply(order_id, 202, caller, is_tagged=True)
        precondition = unchanged(if_match, as_seen)
        return await order_api.commands.execute(
            request, command, respond, precondition=precondition
        )

    @post(
        "/{order_id:str}/nudge",
        status_code=202,
        guards=[operators_only],
        responses={
            202: ResponseSpec(OrderView, description="Every service publishes its events again"),
            **responses("unknown-order", "too-many-requests"),
        },
    )
    async def nudge_order(
        self, request: ServiceRequest, order_id: FromPath[str], order_api: FromOrderApi
    ) -> Response[bytes]:
        """Have every service publish its events of the order again, and try now what it was to do later.

        It repairs what the broker has lost, and changes nothing otherwise.
        """
        order_api.limits.take((Limit.NUDGES_PER_ORDER, order_id))
        command = NudgeOrder(order_id=order_id)
        respond = order_reply(order_id, 202, request.user)
        return await order_api.commands.execute(request, command, respond)

    @get("/{order_id:str}", opt=HAS_TAG, responses=responses("unknown-order"))
    async def show_order(
        self, request: ServiceRequest, order_id: FromPath[str], reader: FromReader
    ) -> Response[OrderView]:
        """One order, as this service knows it."""
        return tagged(await _visible_order(reader, request.user, order_id))

    @get("/", guards=[signed_in_only], responses=responses("forbidden"))
    async def list_orders(
        self,
        request: ServiceRequest,
        reader: FromReader,
        user_id: UserId = None,
        cursor: FromQuery[str | None] = None,
        limit: PageSize = 50,
    ) -> OrderPage:
        """A customer's orders, newest first; your own, unless you are an operator."""
        caller, owner_id = request.user, user_id or request.customer_id
        if not caller.is_operator and owner_id != caller.user_id:
            raise PermissionDeniedException("these are somebody else's orders")
        query = _ORDERS_OF_CUSTOMER if caller.is_operator else _ORDERS_WITHOUT_GUESTS
        if cursor:
            query = query.where(ORDERS.c.order_id < cursor)
        orders = await reader.fetch_views(OrderView, query, user_id=owner_id, limit=limit + 1)
        return page_of(
            orders, limit, lambda order: visible_to(caller, order), lambda order: order.order_id
        )


async def _visible_order(reader: Reader, caller: Caller, order_id: str) -> OrderView:
    """The order, if the caller may see it. Raises Rejected."""
    order = await reader.find_view(OrderView, _ORDER, order_id=order_id)
    if order is None or not _may_see(caller, order):
        raise Rejected("unknown-order", f"there is no order {order_id}")
    return visible_to(caller, order)


def visible_to(caller: Caller, order: OrderView) -> OrderView:
    """The order without the note that only the shop may read, if the caller is not of the shop."""
    if order.cancellation is None or order.cancellation.note is None or caller.is_operator:
        return order
    return replace(order, cancellation=replace(order.cancellation, note=None))


def _may_see(caller: Caller, order: OrderView) -> bool:
    """A guest's order is visible to everyone who has its id, a customer's to the customer, every order to an operator."""
    return order.guest or caller.is_operator or caller.user_id == order.user_id


def order_reply(
    order_id: str,
    status: int,
    caller: Caller,
    location: str | None = None,
    *,
    is_tagged: bool = False,
) -> Callable[[OrderState], Reply]:
    """Responds with the order as it is right after the command, and as the caller may see it."""

    def respond(state: OrderState) -> Reply:
        order = visible_to(caller, order_view(state.orders[order_id]))
        etag = entity_tag(order) if is_tagged else None
        return json_reply(status, order, location=location, etag=etag)

    return respond


def count_order(limits: Limiter, request: ServiceRequest, recipient: str | None = None) -> None:
    """Count an order against its buyer's limit, and that of another recipient of its mails. Raises Rejected."""
    caller = request.user
    if caller.is_admin:
        return
    uses = [
        (Limit.ORDERS_PER_CUSTOMER, caller.user_id)
        if caller.user_id
        else (Limit.GUEST_ORDERS_PER_ADDRESS, client_address(request))
    ]
    if recipient:
        uses.append((Limit.ORDERS_PER_RECIPIENT, mailbox(recipient)))
    limits.take(*uses)


def _buyer_id(caller: Caller, user_id: str | None, *, allow_guests: bool) -> str:
    """The user id of the order. Guests may use any name, customers only their own."""
    if caller.is_guest:
        if not allow_guests:
            raise NotAuthorizedException(
                "sign in first: guests cannot order here",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return user_id or GUEST
    if user_id and user_id != caller.user_id and not caller.is_admin:
        raise PermissionDeniedException("userId: you can order only for yourself")
    return user_id or str(caller.user_id)


def order_command(
    data: NewOrder, buyer_id: str, order_id: str, caller: Caller, settings: ShopSettings
) -> PlaceOrder | CheckOut:
    """An order of the items in the body, or, without any, of the buyer's cart. Raises BadRequest."""
    if not data.items and caller.is_guest:
        raise BadRequest(FieldError(field="items", message="required"))
    address, of_book = delivery_address(data, buyer_id, caller, settings)
    if not data.items:
        return CheckOut(
            user_id=buyer_id,
            order_id=order_id,
            email=data.email,
            locale=data.locale,
            currency=settings.currency,
            shipping_address=address,
            book_address=of_book,
        )
    return PlaceOrder(
        order_id=order_id,
        user_id=buyer_id,
        guest=caller.is_guest,
        email=data.email,
        locale=data.locale,
        items=tuple(
            RequestedItem(product_id=item.product_id, quantity=item.quantity, price=item.price)
            for item in data.items
        ),
        currency=settings.currency,
        shipping_address=address,
        book_address=of_book,
    )


def delivery_address(
    data: Delivery, buyer_id: str, caller: Caller, settings: ShopSettings
) -> tuple[Address | None, BookAddress | None]:
    """The address of an order, or its name in the buyer's address book. Raises BadRequest."""
    address, name = data.shipping_address, data.address_name
    if address and name:
        message = "expected no name beside shippingAddress"
        raise BadRequest(FieldError(field="addressName", message=message))
    if name and caller.is_guest:
        message = "guests have no address book: sign in, or send shippingAddress"
        raise BadRequest(FieldError(field="addressName", message=message))
    if name:
        return None, BookAddress(user_id=buyer_id, name=name)
    if address is None and settings.require_address:
        raise BadRequest(FieldError(field="shippingAddress", message="required"))
    return contract_address(address) if address else None, None


ROUTES = (OrderController,)
