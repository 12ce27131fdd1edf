"""What the read API answers, as clients see it."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from read_api.models import (
    NotificationStatus,
    Order,
    OrderStatus,
    Product,
    ReservationStatus,
    ShipmentStatus,
)
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import FailedItem, LineItem, OrderItem, Role

T = TypeVar("T")


class OrderView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An order; money in the currency's minor unit."""

    order_id: str
    user_id: str
    guest: bool
    status: OrderStatus
    items: Sequence[OrderItem]
    total_amount: int
    currency: str
    email: str | None
    locale: str | None
    shipping_address: dict[str, str] | None
    tracking_number: str | None
    reason: str | None
    failed_items: Sequence[FailedItem]
    created_at: datetime
    updated_at: datetime


class OrderPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Newest first; `next_cursor` asks for the rest."""

    items: Sequence[OrderView]
    next_cursor: str | None


class ReservationView(Struct, frozen=True, kw_only=True, rename="camel"):
    """What is, or was, held for an order."""

    order_id: str
    status: ReservationStatus
    items: Sequence[LineItem]
    reason: str | None
    failed_items: Sequence[FailedItem]
    created_at: datetime
    updated_at: datetime


class ShipmentView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An order's shipment; without `shipmentId` where it was cancelled before it was begun."""

    order_id: str
    shipment_id: str | None
    status: ShipmentStatus
    items: Sequence[LineItem]
    shipping_address: dict[str, str] | None
    carrier: str | None
    reference: str | None
    tracking_number: str | None
    reason: str | None
    created_at: datetime
    updated_at: datetime


class ShipmentPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Newest first; `next_cursor` asks for the rest."""

    items: Sequence[ShipmentView]
    next_cursor: str | None


class NotificationView(Struct, frozen=True, kw_only=True, rename="camel"):
    """A mail, and what became of it; the recipient is masked, `resendOf` the notification that it repeats."""

    notification_id: str
    order_id: str
    resend_of: str | None
    template: str
    status: NotificationStatus
    recipient: str | None
    error: str | None
    created_at: datetime
    updated_at: datetime


class OrderDetail(OrderView, frozen=True, kw_only=True, rename="camel"):
    """An order with its stock, its shipment and its mails; each as its own service tells it."""

    reservation: ReservationView | None
    shipment: ShipmentView | None
    notifications: Sequence[NotificationView]


class CustomerView(Struct, frozen=True, kw_only=True, rename="camel"):
    """Somebody who has signed up."""

    user_id: str
    email: str
    name: str | None
    locale: str | None
    role: Role
    created_at: datetime
    updated_at: datetime


class CustomerPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Newest first; `next_cursor` asks for the rest."""

    items: Sequence[CustomerView]
    next_cursor: str | None


class ProductView(Struct, frozen=True, kw_only=True, rename="camel"):
    """A product with its stock: available = onHand - reserved."""

    product_id: str
    name: str
    description: str
    price: int
    category: str | None
    image_url: str | None
    on_hand: int
    reserved: int
    available: int
    created_at: datetime
    updated_at: datetime


class ProductPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """By product id; `next_cursor` asks for the rest."""

    items: Sequence[ProductView]
    next_cursor: str | None


class StockView(Struct, frozen=True, kw_only=True, rename="camel"):
    """How many there are of a product; also of one that is not sold any more."""

    product_id: str
    name: str
    on_hand: int
    reserved: int
    available: int
    is_deleted: bool


class StockPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """By product id; `next_cursor` asks for the rest."""

    items: Sequence[StockView]
    next_cursor: str | None


class EventView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event: (source, position) is its place, `eventId` its identity, `causationId` what made it."""

    event_id: str
    type: str
    source: str
    position: int
    key: str
    correlation_id: str
    causation_id: str | None
    recorded_at: datetime
    data: dict[str, Any]


class EventPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Newest first; `next_cursor` asks for the rest."""

    items: Sequence[EventView]
    next_cursor: str | None


class HeldStatus(StrEnum):
    """Why an event is held."""

    WAITING = "WAITING"
    """For an event before it in its source's log."""
    DIVERGING = "DIVERGING"
    """Another event was applied at its position."""
    FAR_AHEAD = "FAR_AHEAD"
    """Its position is too far beyond the last applied one to be waited for."""


class HeldEventView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event that was received and is not applied."""

    source: str
    position: int
    event_id: str
    applied_event_id: str | None
    """The event that was applied at this position instead."""
    status: HeldStatus
    subject: str
    body: str


class HeldEventPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """In the order of arrival; `next_cursor` asks for the rest."""

    items: Sequence[HeldEventView]
    next_cursor: str | None


class Cause(Struct, frozen=True, kw_only=True, rename="camel"):
    """The event that made another; `type` is null where we have not heard it."""

    event_id: str
    type: str | None


class Entry(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event on an order's timeline.

    `late` says that it came when the order had no transition for it any more, and changed nothing.
    """

    event_id: str
    type: str
    source: str
    cause: Cause | None
    recorded_at: datetime
    latency_ms: float | None
    """Since its cause; null where there is none."""
    since_start_ms: float
    late: bool
    data: dict[str, Any]


class Timeline(Struct, frozen=True, kw_only=True, rename="camel"):
    """Every event of an order, causes before effects."""

    order_id: str
    items: Sequence[Entry]


def order_page(orders: Sequence[Order], next_cursor: str | None) -> OrderPage:
    """A page of orders."""
    return OrderPage(items=[shown(order, OrderView) for order in orders], next_cursor=next_cursor)


def product_view(product: Product) -> ProductView:
    """What is shown of a product."""
    return shown(product, ProductView, available=product.on_hand - product.reserved)


def stock_view(product: Product) -> StockView:
    """What is shown of its stock."""
    return shown(product, StockView, available=product.on_hand - product.reserved)


def event_view(recorded: RecordedEvent) -> EventView:
    """What is shown of an event."""
    return EventView(
        event_id=recorded.event_id,
        type=recorded.event_type,
        source=recorded.source,
        position=recorded.position,
        key=recorded.entity_id,
        correlation_id=recorded.correlation_id,
        causation_id=recorded.causation_id,
        recorded_at=recorded.recorded_at,
        data=msgspec.to_builtins(recorded.event),
    )


def shown(row: Struct, document: type[T], **more: object) -> T:
    """The document's part of a row, and what the row does not say itself."""
    names: tuple[str, ...] = document.__struct_fields__  # type: ignore[attr-defined]
    return document(**{name: getattr(row, name) for name in names if name not in more}, **more)
