"""Events about customers and their carts."""

from typing import ClassVar, Literal

from shared.contracts.event import Email, Event, Id, Locale, Money, Name, Quantity

Role = Literal["customer", "admin"]


class CustomerRegistered(Event, frozen=True, kw_only=True):
    """Somebody may sign in from now on. What proves his password stays at home."""

    KEY: ClassVar[str] = "user_id"

    user_id: Id
    email: Email
    name: Name | None = None
    locale: Locale | None = None
    role: Role = "customer"


class CustomerUpdated(Event, frozen=True, kw_only=True):
    """The customer is now known so; every field is the new one."""

    KEY: ClassVar[str] = "user_id"

    user_id: Id
    email: Email
    name: Name | None = None
    locale: Locale | None = None


class ItemAddedToCart(Event, frozen=True, kw_only=True):
    """The cart now holds `quantity` more of the product, at the list price of the moment."""

    KEY: ClassVar[str] = "user_id"

    user_id: Id
    product_id: Id
    quantity: Quantity
    price: Money


class ItemRemovedFromCart(Event, frozen=True, kw_only=True):
    """The cart now holds `quantity` fewer of the product."""

    KEY: ClassVar[str] = "user_id"

    user_id: Id
    product_id: Id
    quantity: Quantity
    price: Money


class CartCleared(Event, frozen=True, kw_only=True):
    """The cart is empty: thrown away, or turned into the order `order_id`."""

    KEY: ClassVar[str] = "user_id"

    user_id: Id
    order_id: Id | None = None
