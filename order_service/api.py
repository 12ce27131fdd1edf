"""Orders over HTTP."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from msgspec import Meta

from order_service.domain import Desk
from order_service.domain.orders import Order, PlaceOrder, Status
from order_service.domain.prices import WantedItem
from order_service.store import orders as store
from shared.clock import new_id
from shared.contracts import FailedItem, Id, Money, OrderItem, Quantity
from shared.idempotency import Reply
from shared.problem import responses
from shared.refused import Refused
from shared.service import Service
from shared.web import Body, reply

GUEST = "guest"

Email = Annotated[str, Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$(?!\n)")]
AddressLine = Annotated[str, Meta(max_length=500)]
PageSize = Annotated[int, Parameter(ge=1, le=200)]


class ItemWanted(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A line of an order; `price`, when given, must be the present list price."""

    product_id: Id
    quantity: Quantity
    price: Money | None = None


class NewOrder(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What a customer POSTs."""

    user_id: Id = GUEST
    email: Email | None = None
    locale: Literal["en", "ja"] | None = None
    items: Annotated[tuple[ItemWanted, ...], Meta(min_length=1, max_length=100)]
    shipping_address: Annotated[dict[str, AddressLine], Meta(max_length=20)] | None = None


class Cancellation(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Why, in the customer's words."""

    reason: Annotated[str, Meta(max_length=500)] | None = None


class OrderView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order as the API shows it; money in the currency's minor unit."""

    order_id: str
    user_id: str
    status: Status
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
    currency = service.settings.currency

    @post(
        "/orders",
        dto=Body[NewOrder],
        responses={
            201: ResponseSpec(OrderView, description="Accepted; its stock is asked for"),
            **responses(400, 409, 413, 422, 503),
        },
    )
    async def place_order(request: Request[Any, Any, Any], data: NewOrder) -> Response[bytes]:
        """Place an order. Answers the whole order, PENDING; the events do the rest."""
        order_id = new_id()
        command = PlaceOrder(
            order_id=order_id,
            user_id=data.user_id,
            email=data.email,
            locale=data.locale,
            items=tuple(
                WantedItem(product_id=item.product_id, quantity=item.quantity, price=item.price)
                for item in data.items
            ),
            currency=currency,
            shipping_address=data.shipping_address,
        )
        created = _shown(order_id, 201, location=f"/orders/{order_id}")
        return await service.commands.carry_out(request, command, created)

    @get("/orders/{order_id:str}", responses=responses(404))
    async def show_order(order_id: str) -> OrderView:
        """One order, as this service knows it."""
        found = await service.reads.run(partial(store.load, order_ids=[order_id]))
        if order_id not in found:
            raise Refused("unknown-order", f"there is no order {order_id}", status=404)
        return view(found[order_id])

    @get("/orders", responses=responses(400))
    async def list_orders(
        user_id: Annotated[str, Parameter(query="userId")],
        cursor: str | None = None,
        limit: PageSize = 50,
    ) -> OrderPage:
        """A customer's orders, newest first."""
        found = await service.reads.run(
            partial(store.orders_of_user, user_id=user_id, before=cursor, most=limit + 1)
        )
        page = [view(order) for order in found[:limit]]
        return OrderPage(items=page, next_cursor=page[-1].order_id if len(found) > limit else None)

    return Router(path, route_handlers=[place_order, show_order, list_orders], tags=["orders"])


def _shown(order_id: str, status: int, location: str | None = None) -> Callable[[Desk], Reply]:
    return lambda desk: reply(status, view(desk.orders[order_id]), location=location)
