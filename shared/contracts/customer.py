"""Events about customers and their carts, published by the order service."""

from typing import ClassVar, Literal

from shared.chassis.messages.event import Event, Id, Label
from shared.contracts.types import (
    Address,
    CustomerId,
    Email,
    Locale,
    Moment,
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


class CustomerRoleChanged(CustomerEvent, frozen=True, kw_only=True):
    """An admin gave the customer this role."""

    role: Role


class CustomerEmailChanged(CustomerEvent, frozen=True, kw_only=True):
    """The account has another address; a mail to the previous one names both."""

    previous_email: Email
    email: Email
    locale: Locale | None = None


class CustomerPasswordChanged(CustomerEvent, frozen=True, kw_only=True):
    """The password was changed or reset; a mail to its address names the change."""

    email: Email
    locale: Locale | None = None


class CustomerEmailVerified(CustomerEvent, frozen=True, kw_only=True):
    """The customer followed a link that was sent to this address."""

    email: Email


class LinkRequest(CustomerEvent, frozen=True, kw_only=True):
    """A link is to be sent to this address. It contains the request's id, signed: the id alone is worth nothing."""

    request_id: Id
    email: Email
    locale: Locale | None = None
    expires_at: Moment


class PasswordResetRequested(LinkRequest, frozen=True, kw_only=True):
    """Somebody who may have lost the password asked for a link with which another can be set."""


class EmailVerificationRequested(LinkRequest, frozen=True, kw_only=True):
    """The address is new, or its link was asked for again."""


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


class AddressSaved(CustomerEvent, frozen=True, kw_only=True):
    """The customer's address book has this address by this name; a previous one is replaced."""

    name: Label
    address: Address


class AddressRemoved(CustomerEvent, frozen=True, kw_only=True):
    """The customer's address book no longer has the address of this name."""

    name: Label


class CartCleared(CustomerEvent, frozen=True, kw_only=True):
    """The cart is empty: discarded, or ordered as `order_id`."""

    order_id: OrderId | None = None
