"""The cart of whoever is signed in, over HTTP."""

from collections.abc import Callable, Sequence

import msgspec
from litestar import Response, Router, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from sqlalchemy import Connection

from order_service.carts import store
from order_service.carts.domain import (
    AddToCart,
    Cart,
    ChangeInCart,
    CheckOut,
    ClearCart,
    RemoveFromCart,
)
from order_service.domain import OrderState
from order_service.orders import price_store
from order_service.orders.api import OrderView, count_order, shown
from order_service.orders.pricing import Prices
from order_service.request_fields import Address
from shared.chassis.http.auth import signed_in_only
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.problems import responses
from shared.chassis.http.rate_limits import Limit
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.event import Id
from shared.chassis.runtime.service import Service
from shared.chassis.storage.idempotency import Reply
from shared.contracts import Quantity


class CartItem(RequestBody, frozen=True, kw_only=True):
    """So many more of a product."""

    product_id: Id
    quantity: Quantity


class CartQuantity(RequestBody, frozen=True, kw_only=True):
    """How many there should be."""

    quantity: Quantity


class CheckOutBody(RequestBody, frozen=True, kw_only=True):
    """Where to send it."""

    shipping_address: Address | None = None


NO_ADDRESS = CheckOutBody()
"""What a request without a body stands for."""


class CartLineView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of the cart: `price` when it was put in, `current_price` now (null: not for sale any more)."""

    product_id: str
    name: str | None
    quantity: int
    price: int
    current_price: int | None


class CartView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The cart, at the prices it was filled at."""

    items: Sequence[CartLineView]
    total_amount: int
    currency: str


def router(service: Service) -> Router:
    """The routes under `/cart`."""
    currency = service.settings.currency
    answers: dict[int, ResponseSpec] = {200: ResponseSpec(CartView)}

    def shown_cart(user_id: str) -> Callable[[OrderState], Reply]:
        return lambda desk: json_reply(
            200, view(desk.carts.get(user_id) or Cart(user_id=user_id), desk.prices, currency)
        )

    def changing(request: ServiceRequest) -> str:
        """Whose cart it is; the change is counted."""
        user_id = request.customer_id
        service.limits.take((Limit.CHANGES_PER_CUSTOMER, user_id))
        return user_id

    @get("/", guards=[signed_in_only], responses=responses(401))
    async def show_cart(request: ServiceRequest) -> CartView:
        """What is in it."""
        user_id = request.customer_id

        def find(connection: Connection) -> tuple[Cart, Prices]:
            cart = store.CART_TABLE.find(connection, user_id) or Cart(user_id=user_id)
            products = [line.product_id for line in cart.lines]
            return cart, price_store.PRICE_TABLE.read(connection, products)

        return view(*await service.reads.run(find), currency)

    @post(
        "/items",
        status_code=200,
        guards=[signed_in_only],
        responses=answers | responses(400, 401, 409, 413, 422, 429, 503),
    )
    async def add_item(request: ServiceRequest, data: JSONBody[CartItem]) -> Response[bytes]:
        """Add this many, at the present price."""
        user_id = changing(request)
        command = AddToCart(user_id=user_id, product_id=data.product_id, quantity=data.quantity)
        return await service.commands.execute(request, command, shown_cart(user_id))

    @put(
        "/items/{product_id:str}",
        guards=[signed_in_only],
        responses=answers | responses(400, 401, 404, 409, 413, 422, 429, 503),
    )
    async def change_item(
        request: ServiceRequest, product_id: FromPath[str], data: JSONBody[CartQuantity]
    ) -> Response[bytes]:
        """Set the quantity, at the present price."""
        user_id = changing(request)
        command = ChangeInCart(user_id=user_id, product_id=product_id, quantity=data.quantity)
        return await service.commands.execute(request, command, shown_cart(user_id))

    @delete(
        "/items/{product_id:str}",
        status_code=200,
        guards=[signed_in_only],
        responses=answers | responses(401, 404, 429, 503),
    )
    async def remove_item(request: ServiceRequest, product_id: FromPath[str]) -> Response[bytes]:
        """Remove this product."""
        user_id = changing(request)
        command = RemoveFromCart(user_id=user_id, product_id=product_id)
        return await service.commands.execute(request, command, shown_cart(user_id))

    @delete(
        "/", status_code=200, guards=[signed_in_only], responses=answers | responses(401, 429, 503)
    )
    async def clear_cart(request: ServiceRequest) -> Response[bytes]:
        """Empty the cart."""
        user_id = changing(request)
        command = ClearCart(user_id=user_id)
        return await service.commands.execute(request, command, shown_cart(user_id))

    @post(
        "/checkout",
        guards=[signed_in_only],
        responses={
            201: ResponseSpec(OrderView, description="Ordered, and the cart is empty"),
            **responses(400, 401, 409, 413, 422, 429, 503),
        },
    )
    async def checkout(
        request: ServiceRequest, data: JSONBody[CheckOutBody] = NO_ADDRESS
    ) -> Response[bytes]:
        """Order what is in it and empty it, or neither; a price that changed meanwhile is a 409."""
        count_order(service.limits, request)
        order_id = new_id()
        command = CheckOut(
            user_id=request.customer_id,
            order_id=order_id,
            currency=currency,
            shipping_address=data.shipping_address,
        )
        created = shown(order_id, 201, location=f"/orders/{order_id}")
        return await service.commands.execute(request, command, created)

    return Router(
        "/cart",
        route_handlers=[show_cart, add_item, change_item, remove_item, clear_cart, checkout],
        tags=["cart"],
    )


def view(cart: Cart, listed: Prices, currency: str) -> CartView:
    """What is shown of a cart."""
    items = [
        CartLineView(
            product_id=line.product_id,
            name=price.name if (price := listed.get(line.product_id)) else None,
            quantity=line.quantity,
            price=line.price,
            current_price=price.price if price and not price.is_deleted else None,
        )
        for line in cart.lines
    ]
    total = sum(item.price * item.quantity for item in items)
    return CartView(items=items, total_amount=total, currency=currency)
