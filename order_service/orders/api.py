"""Orders over HTTP."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from order_service.accounts.emails import mailbox
from order_service.carts.domain import CheckOut
from order_service.domain import OrderState
from order_service.orders import store
from order_service.orders.domain import Order, PlaceOrder, RequestCancellation
from order_service.orders.pricing import WantedItem
from order_service.request_fields import Address, Email, PageSize, Reason, canonical_email
from shared.chassis.http.auth import Caller, signed_in_only
from shared.chassis.http.client_address import client_address
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.problems import BadRequest, FieldError, responses
from shared.chassis.http.rate_limits import Limit, Limiter
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.event import Id
from shared.chassis.messages.rejection import Rejected
from shared.chassis.runtime.service import Service
from shared.chassis.storage.idempotency import Reply
from shared.contracts import FailedItem, Money, OrderItem, Quantity
from shared.contracts.order import OrderStatus

GUEST = "guest"


class ItemWanted(RequestBody, frozen=True, kw_only=True):
    """A line of an order; `price`, when given, must be the present list price."""

    product_id: Id
    quantity: Quantity
    price: Money | None = None


class NewOrder(RequestBody, frozen=True, kw_only=True):
    """What a customer POSTs. Without items a signed-in customer orders what is in his cart."""

    user_id: Id | None = None
    email: Email | None = None
    locale: Literal["en", "ja"] | None = None
    items: Annotated[tuple[ItemWanted, ...], Meta(max_length=100)] = ()
    shipping_address: Address | None = None


class Cancellation(RequestBody, frozen=True, kw_only=True):
    """Why, in the customer's words."""

    reason: Reason | None = None


NO_REASON = Cancellation()
"""What a request without a body stands for."""


class OrderView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order as the API shows it; money in the currency's minor unit."""

    order_id: str
    user_id: str
    guest: bool
    status: OrderStatus
    items: Sequence[OrderItem]
    total_amount: int
    currency: str
    email: str | None
    locale: str | None
    shipping_address: dict[str, str] | None
    tracking_number: str | None
    reason: str | None
    failed_items: Sequence[FailedItem]
    created_at: datetime
    updated_at: datetime


class OrderPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Newest first; `next_cursor` asks for the rest."""

    items: Sequence[OrderView]
    next_cursor: str | None


def view(order: Order) -> OrderView:
    """What is shown of an order: all but its bookkeeping."""
    return OrderView(**{name: getattr(order, name) for name in OrderView.__struct_fields__})


def router(service: Service, path: str = "/") -> Router:
    """The routes of this API under `path`."""
    settings = service.settings

    @post(
        "/orders",
        responses={
            201: ResponseSpec(OrderView, description="Accepted; its stock is asked for"),
            **responses(400, 401, 403, 409, 413, 422, 429, 503),
        },
    )
    async def place_order(request: ServiceRequest, data: JSONBody[NewOrder]) -> Response[bytes]:
        """Place an order. Answers the whole order, PENDING; the events do the rest."""
        buyer = _buyer(request.user, data.user_id, allow_guests=settings.allow_guests)
        recipient = canonical_email(data.email) if data.email else None
        count_order(service.limits, request, recipient)
        order_id = new_id()
        command = _order(data, buyer, order_id, request.user, settings.currency)
        created = shown(order_id, 201, location=f"/orders/{order_id}")
        return await service.commands.execute(request, command, created)

    @post(
        "/orders/{order_id:str}/cancel",
        status_code=202,
        responses={
            202: ResponseSpec(OrderView, description="Asked for; shipping decides"),
            **responses(400, 404, 409, 413, 422, 503),
        },
    )
    async def cancel_order(
        request: ServiceRequest,
        order_id: FromPath[str],
        data: JSONBody[Cancellation] = NO_REASON,
    ) -> Response[bytes]:
        """Ask for the order to be stopped. It is CANCELLING until shipping has answered."""
        await find_order(request.user, order_id)
        command = RequestCancellation(order_id=order_id, reason="CUSTOMER", note=data.reason)
        return await service.commands.execute(request, command, shown(order_id, 202))

    @get("/orders/{order_id:str}", responses=responses(401, 404))
    async def show_order(request: ServiceRequest, order_id: FromPath[str]) -> OrderView:
        """One order, as this service knows it."""
        return view(await find_order(request.user, order_id))

    @get("/orders", guards=[signed_in_only], responses=responses(400, 401, 403))
    async def list_orders(
        request: ServiceRequest,
        user_id: Annotated[str | None, QueryParameter(name="userId")] = None,
        cursor: FromQuery[str | None] = None,
        limit: PageSize = 50,
    ) -> OrderPage:
        """A customer's orders, newest first; your own, unless you are an admin."""
        wanted = user_id or request.customer_id
        if not request.user.is_admin and wanted != request.customer_id:
            raise PermissionDeniedException("these are somebody else's orders")
        found = await service.reads.run(
            partial(
                store.orders_of_user,
                user_id=wanted,
                with_guests=request.user.is_admin,
                before=cursor,
                most=limit + 1,
            )
        )
        page = [view(order) for order in found[:limit]]
        return OrderPage(items=page, next_cursor=page[-1].order_id if len(found) > limit else None)

    async def find_order(caller: Caller, order_id: str) -> Order:
        """The order, if the caller may know of it."""
        order = await service.reads.run(partial(store.ORDER_TABLE.find, entity_id=order_id))
        if order is None or not may_see(caller, order):
            raise Rejected("unknown-order", f"there is no order {order_id}")
        return order

    return Router(
        path,
        route_handlers=[place_order, cancel_order, show_order, list_orders],
        tags=["orders"],
    )


def may_see(caller: Caller, order: Order) -> bool:
    """A guest's order is known to whoever knows its id, a customer's to himself; all to an admin."""
    return order.guest or caller.is_admin or caller.user_id == order.user_id


def shown(order_id: str, status: int, location: str | None = None) -> Callable[[OrderState], Reply]:
    """Answers a command with the order as it is right after it."""
    return lambda desk: json_reply(status, view(desk.orders[order_id]), location=location)


def count_order(limits: Limiter, request: ServiceRequest, recipient: str | None = None) -> None:
    """Count an order by who places it, and where its mails go if it names another recipient. Raises Rejected."""
    caller: Caller = request.user
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


def _buyer(caller: Caller, wanted: str | None, *, allow_guests: bool) -> str:
    """Whose order it will be: a guest may call himself anything, a customer only himself."""
    if caller.is_guest:
        if not allow_guests:
            raise NotAuthorizedException(
                "sign in first: guests can not order here",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return wanted or GUEST
    if wanted and wanted != caller.user_id and not caller.is_admin:
        raise PermissionDeniedException("userId: you can order only for yourself")
    return wanted or str(caller.user_id)


def _order(
    data: NewOrder, buyer: str, order_id: str, caller: Caller, currency: str
) -> PlaceOrder | CheckOut:
    if not data.items:
        if caller.is_guest:
            raise BadRequest(FieldError(field="items", message="required"))
        return CheckOut(
            user_id=buyer,
            order_id=order_id,
            email=data.email,
            locale=data.locale,
            currency=currency,
            shipping_address=data.shipping_address,
        )
    return PlaceOrder(
        order_id=order_id,
        user_id=buyer,
        guest=caller.is_guest,
        email=data.email,
        locale=data.locale,
        items=tuple(
            WantedItem(product_id=item.product_id, quantity=item.quantity, price=item.price)
            for item in data.items
        ),
        currency=currency,
        shipping_address=data.shipping_address,
    )
