"""The signed-in customer's cart over HTTP."""

from collections.abc import Sequence

import msgspec
from litestar import Controller, Response, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from sqlalchemy import bindparam, case, select

from order_service.carts.domain import (
    AddToCart,
    Cart,
    ChangeInCart,
    CheckOut,
    ClearCart,
    RemoveFromCart,
)
from order_service.carts.store import CARTS
from order_service.domain import OrderState
from order_service.orders.api import (
    FromOrderApi,
    OrderApi,
    OrderView,
    count_order,
    delivery_address,
    order_reply,
)
from order_service.orders.price_store import LIST_PRICES
from order_service.orders.pricing import Prices
from order_service.request_fields import Delivery
from shared.chassis.http.auth import signed_in_only
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.problems import responses
from shared.chassis.http.rate_limits import Limit
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.event import Id
from shared.chassis.storage.idempotency import Reply
from shared.chassis.storage.views import view_as_json
from shared.contracts import Quantity


class CartItem(RequestBody, frozen=True, kw_only=True):
    """A quantity of a product to add."""

    product_id: Id
    quantity: Quantity


class CartQuantity(RequestBody, frozen=True, kw_only=True):
    """The new quantity."""

    quantity: Quantity


class CheckOutBody(Delivery, frozen=True, kw_only=True):
    """Where to send it."""


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


_CART_LINES = (
    select(
        view_as_json(
            CartLineView,
            CARTS,
            name=LIST_PRICES.c.name,
            current_price=case((LIST_PRICES.c.is_deleted.is_(False), LIST_PRICES.c.price)),
        )
    )
    .outerjoin_from(CARTS, LIST_PRICES, LIST_PRICES.c.product_id == CARTS.c.product_id)
    .where(CARTS.c.user_id == bindparam("user_id"))
    .order_by(CARTS.c.line)
)

CART: dict[int, ResponseSpec] = {200: ResponseSpec(CartView)}


class CartController(Controller):
    """The signed-in customer's cart."""

    path = "/cart"
    guards = (signed_in_only,)
    tags = ("cart",)

    @get("/")
    async def show_cart(self, request: ServiceRequest, order_api: FromOrderApi) -> CartView:
        """What is in it."""
        lines = await order_api.reader.fetch_views(
            CartLineView, _CART_LINES, user_id=request.customer_id
        )
        return cart_view(lines, order_api.settings.currency)

    @post(
        "/items",
        status_code=200,
        responses=CART | responses("cart-full", "product-not-for-sale", "too-many-requests"),
    )
    async def add_item(
        self, request: ServiceRequest, data: JSONBody[CartItem], order_api: FromOrderApi
    ) -> Response[bytes]:
        """Add this many, at the current price."""
        command = AddToCart(
            user_id=request.customer_id, product_id=data.product_id, quantity=data.quantity
        )
        return await _change(order_api, request, command)

    @put(
        "/items/{product_id:str}",
        responses=CART
        | responses("cart-full", "not-in-cart", "product-not-for-sale", "too-many-requests"),
    )
    async def change_item(
        self,
        request: ServiceRequest,
        product_id: FromPath[str],
        data: JSONBody[CartQuantity],
        order_api: FromOrderApi,
    ) -> Response[bytes]:
        """Set the quantity, at the current price."""
        command = ChangeInCart(
            user_id=request.customer_id, product_id=product_id, quantity=data.quantity
        )
        return await _change(order_api, request, command)

    @delete(
        "/items/{product_id:str}",
        status_code=200,
        responses=CART | responses("not-in-cart", "too-many-requests"),
    )
    async def remove_item(
        self,
        request: ServiceRequest,
        product_id: FromPath[str],
        order_api: FromOrderApi,
    ) -> Response[bytes]:
        """Remove this product."""
        command = RemoveFromCart(user_id=request.customer_id, product_id=product_id)
        return await _change(order_api, request, command)

    @delete("/", status_code=200, responses=CART | responses("too-many-requests"))
    async def clear_cart(self, request: ServiceRequest, order_api: FromOrderApi) -> Response[bytes]:
        """Empty the cart."""
        return await _change(order_api, request, ClearCart(user_id=request.customer_id))

    @post(
        "/checkout",
        responses={
            201: ResponseSpec(OrderView, description="Ordered, and the cart is empty"),
            **responses(
                "address-not-in-book",
                "order-too-large",
                "cart-empty",
                "price-changed",
                "product-not-for-sale",
                "too-many-requests",
            ),
        },
    )
    async def checkout(
        self,
        request: ServiceRequest,
        order_api: FromOrderApi,
        data: JSONBody[CheckOutBody] = NO_ADDRESS,
    ) -> Response[bytes]:
        """Order what is in it and empty it, or neither; a price that has changed is a 409."""
        user_id = request.customer_id
        address, of_book = delivery_address(data, user_id, request.user, order_api.settings)
        count_order(order_api.limits, request)
        order_id = new_id()
        command = CheckOut(
            user_id=user_id,
            order_id=order_id,
            currency=order_api.settings.currency,
            shipping_address=address,
            book_address=of_book,
        )
        respond = order_reply(order_id, 201, request.user, location=f"/orders/{order_id}")
        return await order_api.commands.execute(request, command, respond)


async def _change(
    order_api: OrderApi,
    request: ServiceRequest,
    command: AddToCart | ChangeInCart | RemoveFromCart | ClearCart,
) -> Response[bytes]:
    """Count the change against its limit, execute it, and respond with the cart right after it. Raises Rejected."""
    user_id = command.user_id
    order_api.limits.take((Limit.CHANGES_PER_CUSTOMER, user_id))

    def respond(state: OrderState) -> Reply:
        cart = state.carts.get(user_id) or Cart(user_id=user_id)
        return json_reply(
            200, cart_view(cart_lines(cart, state.prices), order_api.settings.currency)
        )

    return await order_api.commands.execute(request, command, respond)


def cart_lines(cart: Cart, prices: Prices) -> list[CartLineView]:
    """The lines of a cart with their current prices."""
    return [
        CartLineView(
            product_id=line.product_id,
            name=price.name if (price := prices.get(line.product_id)) else None,
            quantity=line.quantity,
            price=line.price,
            current_price=price.price if price and not price.is_deleted else None,
        )
        for line in cart.lines
    ]


def cart_view(lines: Sequence[CartLineView], currency: str) -> CartView:
    """A cart as the API shows it."""
    total = sum(line.price * line.quantity for line in lines)
    return CartView(items=lines, total_amount=total, currency=currency)
