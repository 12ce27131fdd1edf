"""Carts that are not empty, from the events of the order service."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from read_api.models import Cart, CartItem
from read_api.projections.unknown_entity import require
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import CartCleared, ItemAddedToCart, ItemRemovedFromCart

CONSUMES = (ItemAddedToCart, ItemRemovedFromCart, CartCleared)


class Carts(Struct, frozen=True, kw_only=True):
    """By user id."""

    carts: Mapping[str, Cart] = {}


def evolve(state: Carts, recorded: RecordedEvent) -> Carts:
    """The carts after one of the consumed events. Raises UnknownEntity."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case ItemAddedToCart(user_id=user_id):
            cart = state.carts.get(user_id)
            items = _with_more(cart.items if cart else (), event)
        case ItemRemovedFromCart(user_id=user_id):
            items = _with_fewer(require(state.carts, user_id).items, event)
        case CartCleared(user_id=user_id):
            items = ()
        case _:
            return state
    carts = {owner: cart for owner, cart in state.carts.items() if owner != user_id}
    if items:
        carts[user_id] = Cart(user_id=user_id, items=items, updated_at=at)
    return Carts(carts=carts)


def _with_more(items: tuple[CartItem, ...], added: ItemAddedToCart) -> tuple[CartItem, ...]:
    product_id, price = added.product_id, added.price
    if all(item.product_id != product_id for item in items):
        return (*items, CartItem(product_id=product_id, quantity=added.quantity, price=price))
    return tuple(
        replace(item, quantity=item.quantity + added.quantity, price=price)
        if item.product_id == product_id
        else item
        for item in items
    )


def _with_fewer(items: tuple[CartItem, ...], removed: ItemRemovedFromCart) -> tuple[CartItem, ...]:
    """A removal of the whole quantity removes the line."""
    fewer = (
        replace(item, quantity=item.quantity - removed.quantity, price=removed.price)
        if item.product_id == removed.product_id
        else item
        for item in items
    )
    return tuple(item for item in fewer if item.quantity > 0)
