"""The read models: frozen structs that are folds of events."""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from shared.contracts import Address, Cancellation, FailedItem, LineItem, OrderItem, Role
from shared.contracts.order import OrderStatus
from shared.order_number import order_number


class ReservationStatus(StrEnum):
    RESERVED = "RESERVED"
    DEDUCTED = "DEDUCTED"
    RELEASED = "RELEASED"
    WRITTEN_OFF = "WRITTEN_OFF"
    REFUSED = "REFUSED"


class ShipmentStatus(StrEnum):
    INITIATED = "INITIATED"
    DISPATCHED = "DISPATCHED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class NotificationStatus(StrEnum):
    SENT = "SENT"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class Order(Struct, frozen=True, kw_only=True):
    """An order as its events describe it."""

    order_id: str
    user_id: str
    guest: bool = False
    """Placed without signing in: then `user_id` is only a label."""
    status: OrderStatus
    items: tuple[OrderItem, ...]
    total_amount: int
    currency: str
    email: str | None = None
    locale: str | None = None
    shipping_address: Address | None = None
    is_confirmed: bool = False
    """Whether its stock was ever reserved: events of earlier releases do not carry the status."""
    carrier: str | None = None
    tracking_number: str | None = None
    shipped_at: datetime | None = None
    delivery_overdue_at: datetime | None = None
    reason: str | None = None
    cancellation: Cancellation | None = None
    """Requested and not refused."""
    failed_items: tuple[FailedItem, ...] = ()
    completed_at: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def order_number(self) -> str:
        return order_number(self.order_id)

    @property
    def email_key(self) -> str | None:
        """The address as it is searched for."""
        return self.email and self.email.lower()

    @property
    def units(self) -> int:
        """The quantity of all items: a column, so that reports need not add it up."""
        return sum(item.quantity for item in self.items)


class Product(Struct, frozen=True, kw_only=True):
    """A product and its stock."""

    product_id: str
    number: int
    """The position of its ProductCreated: unique, and an integer, which the search index needs."""
    name: str
    description: str
    price: int
    category: str | None = None
    image_url: str | None = None
    on_hand: int = 0
    reserved: int = 0
    is_deleted: bool = False
    created_at: datetime
    updated_at: datetime


class Reservation(Struct, frozen=True, kw_only=True):
    """The stock reserved for an order, and why it was refused or released."""

    order_id: str
    status: ReservationStatus
    items: tuple[LineItem, ...] = ()
    reason: str | None = None
    failed_items: tuple[FailedItem, ...] = ()
    created_at: datetime
    updated_at: datetime


class Shipment(Struct, frozen=True, kw_only=True):
    """An order's one shipment; without `shipment_id` if it was cancelled before it started."""

    order_id: str
    shipment_id: str | None = None
    status: ShipmentStatus
    items: tuple[LineItem, ...] = ()
    shipping_address: Address | None = None
    carrier: str | None = None
    reference: str | None = None
    """The carrier's id of the booking, from DISPATCHED on."""
    booking_attempts: int = 0
    """How often the carrier gave no clear answer, from the third time on."""
    tracking_number: str | None = None
    reason: str | None = None
    created_at: datetime
    updated_at: datetime


class Notification(Struct, frozen=True, kw_only=True):
    """A mail and its outcome."""

    notification_id: str
    order_id: str
    resend_of: str | None = None
    """The notification that this one repeats."""
    template: str
    status: NotificationStatus
    recipient: str | None = None
    error: str | None = None
    created_at: datetime
    updated_at: datetime


class Customer(Struct, frozen=True, kw_only=True):
    user_id: str
    email: str
    name: str | None = None
    locale: str | None = None
    role: Role = "customer"
    created_at: datetime
    updated_at: datetime


class CartItem(Struct, frozen=True, kw_only=True):
    """A product at the price that the customer saw."""

    product_id: str
    quantity: int
    price: int


class Cart(Struct, frozen=True, kw_only=True):
    """A customer's cart that is not empty."""

    user_id: str
    items: tuple[CartItem, ...] = ()
    updated_at: datetime
