"""Events of the order service about orders."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

import msgspec

from shared.chassis.messages.event import Event, Label
from shared.chassis.messages.touches import id_of
from shared.contracts.inventory import FailedItems
from shared.contracts.types import (
    MAX_LINES,
    Address,
    Currency,
    Email,
    Locale,
    Money,
    Name,
    OrderId,
    ProductId,
    Quantity,
    Reason,
    TotalAmount,
    TrackingNumber,
)

CustomerLabel = Annotated[Label, id_of("customer")]
"""A customer's id; for guests any text, which the caller chose."""


class OrderItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One line of an order, at the price for which it was accepted."""

    product_id: ProductId
    name: Name | None = None
    quantity: Quantity
    price: Money


OrderItems = Annotated[tuple[OrderItem, ...], msgspec.Meta(max_length=MAX_LINES)]


class OrderStatus(StrEnum):
    """Every status of an order; all but the first four are final."""

    PENDING = "PENDING"
    AWAITING_SHIPMENT = "AWAITING_SHIPMENT"
    SHIPPED = "SHIPPED"
    """With the carrier: only its outcome ends the order."""
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    CANCELLED_NO_STOCK = "CANCELLED_NO_STOCK"
    SHIPMENT_FAILED = "SHIPMENT_FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


CancelledBy = Literal["CUSTOMER", "SHOP", "DEADLINE"]


class Cancellation(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked to cancel an order, and why in their words."""

    by: CancelledBy
    reason: Reason | None = None
    """What the customer may read."""
    note: Reason | None = None
    """For the shop only: the customer never sees it, in no document, event or mail."""


class OrderEvent(Event, frozen=True, kw_only=True):
    """Published by the order service about an order."""

    SOURCE: ClassVar[str] = "order"
    ENTITY: ClassVar[str] = "order_id"

    order_id: OrderId
    status: OrderStatus | None = None
    """The order's status after the event; absent in events of earlier releases: see `status_after`."""


class OrderCreated(OrderEvent, frozen=True, kw_only=True):
    """A customer placed an order; no stock is reserved yet."""

    SCHEMA_VERSION: ClassVar[int] = 2

    user_id: CustomerLabel
    guest: bool = False
    """Placed without an account: its id alone gives access to the order, and `user_id` identifies nobody."""
    email: Email | None = None
    locale: Locale | None = None
    items: OrderItems
    total_amount: TotalAmount
    currency: Currency
    shipping_address: Address | None = None


class OrderConfirmed(OrderEvent, frozen=True, kw_only=True):
    """The stock is reserved; the order awaits its shipment."""


class OrderShipped(OrderEvent, frozen=True, kw_only=True):
    """A carrier has the order's parcel. `status` is CANCELLING while shipping has not refused a requested cancellation."""

    carrier: Label | None = None
    tracking_number: TrackingNumber | None = None


class DeliveryOverdue(OrderEvent, frozen=True, kw_only=True):
    """No outcome arrived within the delivery deadline. Published once; only an operator or the carrier ends the order."""


class OrderCompleted(OrderEvent, frozen=True, kw_only=True):
    """The order was delivered."""

    tracking_number: TrackingNumber


class OrderCancelled(OrderEvent, frozen=True, kw_only=True):
    """The order ended without a shipment; no stock is reserved, nothing is charged."""

    reason: Literal["NO_STOCK", "CUSTOMER", "EXPIRED"]
    """CUSTOMER also if the shop asked for it."""
    failed_items: FailedItems = ()
    by: CancelledBy | None = None
    """Absent for NO_STOCK, and in events of earlier releases."""
    explanation: Reason | None = None
    """The reason that the customer may read, in the words of the one who asked."""


class OrderFailed(OrderEvent, frozen=True, kw_only=True):
    """The shipment failed, and with it the order."""

    reason: Reason


class OrderCancellationRequested(OrderEvent, frozen=True, kw_only=True):
    """The customer or the shop asked to cancel the order, or it timed out. The shipping service alone decides."""

    reason: Literal["CUSTOMER", "EXPIRED"]
    """CUSTOMER also if the shop asked for it."""
    by: CancelledBy | None = None
    """Absent in events of earlier releases."""
    explanation: Reason | None = None
    """The reason that the customer may read."""
    note: Reason | None = None
    """For the shop only; in an event without `by`, the reason that the customer may read."""


class OrderResumed(OrderEvent, frozen=True, kw_only=True):
    """The shipping service refused the cancellation; the order continues from its previous status."""

    reason: Reason


class OrderNudged(Event, frozen=True, kw_only=True):
    """Every service is to publish its events of the order again, and to try now what it was to do later.

    It changes nothing of the order: neither its status nor its deadline.
    """

    SOURCE: ClassVar[str] = "order"
    ENTITY: ClassVar[str] = "order_id"

    order_id: OrderId


def cancellation_of(requested: OrderCancellationRequested) -> Cancellation:
    """Who asked for it and why, also from an event of an earlier release."""
    if requested.by is None:
        by: CancelledBy = "DEADLINE" if requested.reason == "EXPIRED" else "CUSTOMER"
        return Cancellation(by=by, reason=requested.note)
    return Cancellation(by=requested.by, reason=requested.explanation, note=requested.note)


CANCELLED_STATUS = {
    "NO_STOCK": OrderStatus.CANCELLED_NO_STOCK,
    "CUSTOMER": OrderStatus.CANCELLED,
    "EXPIRED": OrderStatus.EXPIRED,
}
"""By the reason of `OrderCancelled`."""


def status_after(
    event: OrderEvent, before: OrderStatus | None, *, is_confirmed: bool
) -> OrderStatus:
    """The order's status after the event: the event's own, or what an event without one leads to.

    `before` is the status before the event, and `is_confirmed` whether the order was confirmed by then.
    """
    return event.status or _derived_status(event, before, is_confirmed=is_confirmed)


def _derived_status(
    event: OrderEvent, before: OrderStatus | None, *, is_confirmed: bool
) -> OrderStatus:
    match event:
        case OrderConfirmed() if before is not OrderStatus.CANCELLING:
            return OrderStatus.AWAITING_SHIPMENT
        case OrderShipped() | DeliveryOverdue() if before is not OrderStatus.CANCELLING:
            return OrderStatus.SHIPPED
        case OrderConfirmed() | OrderShipped() | OrderCancellationRequested():
            return OrderStatus.CANCELLING
        case OrderResumed() if is_confirmed:
            return OrderStatus.AWAITING_SHIPMENT
        case OrderCompleted():
            return OrderStatus.COMPLETED
        case OrderCancelled(reason=reason):
            return CANCELLED_STATUS[reason]
        case OrderFailed():
            return OrderStatus.SHIPMENT_FAILED
        case _:
            return OrderStatus.PENDING
