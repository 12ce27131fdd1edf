"""A customer's cart: products at the prices that the customer saw."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Struct
from msgspec.structs import replace

from order_service.addresses.domain import BookAddress
from order_service.orders.domain import Orders, PlaceOrder
from order_service.orders.domain import decide as decide_order
from order_service.orders.limits import NO_LIMITS, OrderLimits
from order_service.orders.pricing import Prices, RequestedItem, priced
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.touches import id_of
from shared.contracts import (
    Address,
    CartCleared,
    ItemAddedToCart,
    ItemRemovedFromCart,
    OrderId,
    ProductId,
)

CartId = Annotated[str, id_of("cart")]
"""The id of the cart's customer."""


class CartLine(Struct, frozen=True, kw_only=True):
    """A product, its quantity, and its list price when it was last added."""

    product_id: ProductId
    quantity: int
    price: int


class Cart(Struct, frozen=True, kw_only=True):
    """A customer's lines, in the order they were added."""

    user_id: str
    lines: tuple[CartLine, ...] = ()


Carts = Mapping[str, Cart]
"""By user id; empty carts are missing."""


class AddToCart(Struct, frozen=True, kw_only=True):
    """Add `quantity` of the product."""

    user_id: CartId
    product_id: ProductId
    quantity: int


class ChangeInCart(Struct, frozen=True, kw_only=True):
    """Set the product's quantity, at the current list price."""

    user_id: CartId
    product_id: ProductId
    quantity: int


class RemoveFromCart(Struct, frozen=True, kw_only=True):
    """Remove all of the product."""

    user_id: CartId
    product_id: ProductId


class ClearCart(Struct, frozen=True, kw_only=True):
    """Empty the cart."""

    user_id: CartId


class CheckOut(Struct, frozen=True, kw_only=True):
    """Order the lines and empty the cart, in one step."""

    user_id: CartId
    order_id: OrderId
    email: str | None = None
    locale: str | None = None
    currency: str
    shipping_address: Address | None = None
    book_address: BookAddress | None = None
    """In place of `shipping_address`."""


Command = AddToCart | ChangeInCart | RemoveFromCart | ClearCart | CheckOut


def decide(
    carts: Carts,
    orders: Orders,
    prices: Prices,
    command: Command,
    limits: OrderLimits = NO_LIMITS,
) -> list[Event]:
    """The events that the command leads to.

    Raises Rejected: `product-not-for-sale`, `not-in-cart`, `cart-full`; on checkout also `cart-empty` and
    `price-changed`, if a price is not the one that the customer saw.
    """
    cart = carts.get(command.user_id) or Cart(user_id=command.user_id)
    match command:
        case AddToCart(product_id=product_id, quantity=quantity):
            return [_added(cart, prices, product_id, quantity, limits)]
        case ChangeInCart():
            return _change(cart, prices, command, limits)
        case RemoveFromCart(product_id=product_id):
            return [_emptied(cart, required_line(cart, product_id))]
        case ClearCart():
            return [CartCleared(user_id=cart.user_id)] if cart.lines else []
        case CheckOut():
            return _check_out(cart, orders, prices, command, limits)


def _added(
    cart: Cart, prices: Prices, product_id: str, quantity: int, limits: OrderLimits
) -> ItemAddedToCart:
    item = priced(prices, RequestedItem(product_id=product_id, quantity=quantity))
    line = line_of(cart, product_id)
    if line is None and len(cart.lines) >= limits.lines:
        raise Rejected("cart-full", f"a cart holds {limits.lines} products at most")
    if quantity + (line.quantity if line else 0) > limits.units:
        raise Rejected("cart-full", f"a cart holds {limits.units} of a product at most")
    return ItemAddedToCart(
        user_id=cart.user_id, product_id=product_id, quantity=quantity, price=item.price
    )


def _change(cart: Cart, prices: Prices, command: ChangeInCart, limits: OrderLimits) -> list[Event]:
    line = required_line(cart, command.product_id)
    item = RequestedItem(product_id=command.product_id, quantity=command.quantity)
    price = priced(prices, item).price
    more = command.quantity - line.quantity
    if more > 0:
        return [_added(cart, prices, line.product_id, more, limits)]
    if more < 0:
        return [
            ItemRemovedFromCart(
                user_id=cart.user_id, product_id=line.product_id, quantity=-more, price=price
            )
        ]
    if price == line.price:
        return []
    rest = without(cart, line.product_id)
    return [_emptied(cart, line), _added(rest, prices, line.product_id, line.quantity, limits)]


def _emptied(cart: Cart, line: CartLine) -> ItemRemovedFromCart:
    return ItemRemovedFromCart(
        user_id=cart.user_id,
        product_id=line.product_id,
        quantity=line.quantity,
        price=line.price,
    )


def _check_out(
    cart: Cart, orders: Orders, prices: Prices, command: CheckOut, limits: OrderLimits
) -> list[Event]:
    if not cart.lines:
        raise Rejected("cart-empty", "the cart is empty")
    items = tuple(
        RequestedItem(product_id=line.product_id, quantity=line.quantity, price=line.price)
        for line in cart.lines
    )
    order = PlaceOrder(
        order_id=command.order_id,
        user_id=command.user_id,
        email=command.email,
        locale=command.locale,
        items=items,
        currency=command.currency,
        shipping_address=command.shipping_address,
    )
    return [
        *decide_order(orders, prices, order, limits),
        CartCleared(user_id=cart.user_id, order_id=command.order_id),
    ]


def line_of(cart: Cart, product_id: str) -> CartLine | None:
    """The cart's line of this product."""
    return next((line for line in cart.lines if line.product_id == product_id), None)


def required_line(cart: Cart, product_id: str) -> CartLine:
    """The cart's line of this product. Raises Rejected: `not-in-cart`."""
    line = line_of(cart, product_id)
    if line is None:
        raise Rejected("not-in-cart", f"there is no {product_id} in the cart")
    return line


def without(cart: Cart, product_id: str) -> Cart:
    """The cart without this product."""
    lines = tuple(line for line in cart.lines if line.product_id != product_id)
    return replace(cart, lines=lines)


def evolve(carts: Carts, recorded: RecordedEvent) -> Carts:
    """The carts after an event of the order service."""
    match recorded.event:
        case ItemAddedToCart(user_id=user_id) as added:
            cart = _with_more(carts.get(user_id) or Cart(user_id=user_id), added)
        case ItemRemovedFromCart(user_id=user_id) as removed:
            cart = _with_fewer(carts[user_id], removed)
        case CartCleared(user_id=user_id):
            cart = Cart(user_id=user_id)
        case _:
            return carts
    others = {owner: other for owner, other in carts.items() if owner != cart.user_id}
    return {**others, cart.user_id: cart} if cart.lines else others


def _with_more(cart: Cart, added: ItemAddedToCart) -> Cart:
    previous = line_of(cart, added.product_id)
    line = CartLine(
        product_id=added.product_id,
        quantity=added.quantity + (previous.quantity if previous else 0),
        price=added.price,
    )
    return replace(cart, lines=(*cart.lines, line)) if previous is None else _with(cart, line)


def _with_fewer(cart: Cart, removed: ItemRemovedFromCart) -> Cart:
    line = required_line(cart, removed.product_id)
    if removed.quantity >= line.quantity:
        return without(cart, removed.product_id)
    left = line.quantity - removed.quantity
    return _with(cart, replace(line, quantity=left, price=removed.price))


def _with(cart: Cart, line: CartLine) -> Cart:
    """The cart with this line instead of its product's previous one."""
    lines = (line if other.product_id == line.product_id else other for other in cart.lines)
    return replace(cart, lines=tuple(lines))
