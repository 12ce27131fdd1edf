"""What the order service says."""

from typing import Annotated, ClassVar, Literal

import msgspec

from shared.contracts.event import (
    MAX_LINES,
    Address,
    Amount,
    Currency,
    Email,
    Event,
    Id,
    Locale,
    Money,
    Name,
    Quantity,
    Reason,
    TrackingNumber,
    Word,
)
from shared.contracts.inventory import FailedItems


class OrderItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One line of an order at the price it was accepted for, in the currency's minor unit."""

    product_id: Id
    name: Name | None = None
    quantity: Quantity
    price: Money


OrderItems = Annotated[tuple[OrderItem, ...], msgspec.Meta(max_length=MAX_LINES)]


class OrderCreated(Event, frozen=True, kw_only=True):
    """A customer asked for goods; nothing is held yet."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    user_id: Word
    guest: bool = False
    """Whether nobody was signed in: then the order's id is its secret, and `user_id` a mere label."""
    email: Email | None = None
    locale: Locale | None = None
    items: OrderItems
    total_amount: Amount
    currency: Currency
    shipping_address: Address | None = None


class OrderConfirmed(Event, frozen=True, kw_only=True):
    """The stock is held; the order awaits its shipment."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id


class OrderCompleted(Event, frozen=True, kw_only=True):
    """The goods are delivered."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    tracking_number: TrackingNumber


class OrderCancelled(Event, frozen=True, kw_only=True):
    """The order ended without a shipment; nothing is held, nothing is charged."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    reason: Literal["NO_STOCK", "CUSTOMER", "EXPIRED"]
    failed_items: FailedItems = ()


class OrderFailed(Event, frozen=True, kw_only=True):
    """The shipment failed, and with it the order."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    reason: Reason


class OrderCancellationRequested(Event, frozen=True, kw_only=True):
    """Somebody, or the clock, wants the order stopped. Shipping alone decides."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    reason: Literal["CUSTOMER", "EXPIRED"]
    note: Reason | None = None


class OrderResumed(Event, frozen=True, kw_only=True):
    """Shipping refused the cancellation; the order goes on from where it was."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    reason: Reason
