"""Customers' carts, the latest changed first."""

from datetime import datetime

from sqlalchemy import bindparam, func, select

from read_api.queries.customers import find_customer
from read_api.schemas import CartItemView, CartPage, CartView
from read_api.tables import CART_ITEMS, CARTS, PRODUCTS
from shared.chassis.http.pagination import Keyset, page_of, to_cursor
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import all_as_json, view_as_json

_ITEMS = (
    select(CART_ITEMS, PRODUCTS.c.name)
    .outerjoin_from(CART_ITEMS, PRODUCTS, PRODUCTS.c.product_id == CART_ITEMS.c.product_id)
    .subquery("items")
)
_TOTAL = (
    select(func.sum(CART_ITEMS.c.quantity * CART_ITEMS.c.price))
    .where(CART_ITEMS.c.user_id == CARTS.c.user_id)
    .correlate(CARTS)
    .scalar_subquery()
)
_CARTS = select(
    view_as_json(
        CartView,
        CARTS,
        items=all_as_json(CartItemView, _ITEMS, _ITEMS.c.user_id == CARTS.c.user_id, _ITEMS.c.line),
        total_amount=_TOTAL,
    )
)
_CART = _CARTS.where(CARTS.c.user_id == bindparam("user_id"))
_LATEST_FIRST = Keyset(tuple[datetime, str], CARTS.c.updated_at.desc(), CARTS.c.user_id.desc())


async def list_carts(reader: Reader, cursor: str | None, limit: int) -> CartPage:
    """Those that are not empty."""
    return page_of(
        await reader.fetch_views(CartView, _LATEST_FIRST.select(_CARTS, cursor, limit)),
        limit,
        lambda cart: cart,
        lambda cart: to_cursor(cart.updated_at, cart.user_id),
    )


async def find_cart(reader: Reader, user_id: str) -> CartView:
    """The customer's cart, which may be empty. Raises Rejected for an unknown customer."""
    cart = await reader.find_view(CartView, _CART, user_id=user_id)
    if cart is None:
        await find_customer(reader, user_id)
        return CartView(user_id=user_id, items=(), total_amount=0, updated_at=None)
    return cart
