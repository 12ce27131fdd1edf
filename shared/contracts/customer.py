"""Events about customers and their carts, published by the order service."""

from typing import ClassVar, Literal

from shared.chassis.messages.event import Event
from shared.contracts.types import (
    CustomerId,
    Email,
    Locale,
    Money,
    Name,
    OrderId,
    ProductId,
    Quantity,
)

Role = Literal["customer", "operator", "admin"]
"""An operator runs the shop: it sees and repairs what is stuck, and changes neither catalogue nor accounts."""


class CustomerEvent(Event, frozen=True, kw_only=True):
    """Published by the order service about a customer."""

    SOURCE: ClassVar[str] = "order"
    ENTITY: ClassVar[str] = "user_id"

    user_id: CustomerId


class CustomerRegistered(CustomerEvent, frozen=True, kw_only=True):
    """An account was created. Credentials are never published."""

    email: Email
    name: Name | None = None
    locale: Locale | None = None
    role: Role = "customer"


class CustomerUpdated(CustomerEvent, frozen=True, kw_only=True):
    """The customer's data changed; every field holds the new value."""

    email: Email
    name: Name | None = None
    locale: Locale | None = None


class ItemAddedToCart(CustomerEvent, frozen=True, kw_only=True):
    """The cart contains `quantity` more of the product, at its current list price."""

    product_id: ProductId
    quantity: Quantity
    price: Money


class ItemRemovedFromCart(CustomerEvent, frozen=True, kw_only=True):
    """The cart contains `quantity` fewer of the product."""

    product_id: ProductId
    quantity: Quantity
    price: Money


class CartCleared(CustomerEvent, frozen=True, kw_only=True):
    """The cart is empty: discarded, or ordered as `order_id`."""

    order_id: OrderId | None = None
