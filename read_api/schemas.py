"""The documents that the read API answers with."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from read_api.models import NotificationStatus, ReservationStatus, ShipmentStatus
from read_api.saga_steps import Step
from shared.chassis.http.pagination import Page, schema_name
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import Address, Cancellation, FailedItem, LineItem, OrderItem, Role
from shared.contracts.order import OrderStatus


class OrderView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An order; money in the currency's minor unit."""

    order_id: str
    order_number: str
    """Short, for people; `GET /orders?number=` finds by it."""
    user_id: str
    guest: bool
    status: OrderStatus
    items: Sequence[OrderItem]
    total_amount: int
    currency: str
    email: str | None
    locale: str | None
    shipping_address: Address | None
    carrier: str | None
    tracking_number: str | None
    shipped_at: datetime | None
    delivery_overdue_at: datetime | None
    """When the delivery deadline passed without an outcome."""
    reason: str | None
    cancellation: Cancellation | None
    """Requested and not refused; its note only for operators and admins."""
    failed_items: Sequence[FailedItem]
    created_at: datetime
    updated_at: datetime


OrderPage = Annotated[Page[OrderView], schema_name("OrderPage")]


class ReservationView(Struct, frozen=True, kw_only=True, rename="camel"):
    """The stock reserved for an order, now or before."""

    order_id: str
    status: ReservationStatus
    items: Sequence[LineItem]
    reason: str | None
    failed_items: Sequence[FailedItem]
    created_at: datetime
    updated_at: datetime


class ShipmentView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An order's shipment; without `shipmentId` if it was cancelled before it started."""

    order_id: str
    shipment_id: str | None
    status: ShipmentStatus
    items: Sequence[LineItem]
    shipping_address: Address | None
    carrier: str | None
    reference: str | None
    tracking_number: str | None
    reason: str | None
    created_at: datetime
    updated_at: datetime


ShipmentPage = Annotated[Page[ShipmentView], schema_name("ShipmentPage")]


class NotificationView(Struct, frozen=True, kw_only=True, rename="camel"):
    """A mail and its outcome; the recipient is masked, `resendOf` names the notification that it repeats."""

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
    """An order with its reservation, shipment and mails, each as its own service last published it."""

    reservation: ReservationView | None
    shipment: ShipmentView | None
    notifications: Sequence[NotificationView]


class CustomerView(Struct, frozen=True, kw_only=True, rename="camel"):
    """A registered customer."""

    user_id: str
    email: str
    name: str | None
    locale: str | None
    role: Role
    created_at: datetime
    updated_at: datetime


CustomerPage = Annotated[Page[CustomerView], schema_name("CustomerPage")]


class CartItemView(Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of a cart at the price at which it was filled; `name` is null for a product that was never received."""

    product_id: str
    name: str | None
    quantity: int
    price: int


class CartView(Struct, frozen=True, kw_only=True, rename="camel"):
    """A customer's cart; an empty one has no time."""

    user_id: str
    items: Sequence[CartItemView]
    total_amount: int
    updated_at: datetime | None


CartPage = Annotated[Page[CartView], schema_name("CartPage")]


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


ProductPage = Annotated[Page[ProductView], schema_name("ProductPage")]


class CategoryView(Struct, frozen=True, kw_only=True, rename="camel"):
    """A category, and the number of its products on sale."""

    category: str
    products: int


CategoryPage = Annotated[Page[CategoryView], schema_name("CategoryPage")]


class StockView(Struct, frozen=True, kw_only=True, rename="camel"):
    """The stock of a product, which may be deleted."""

    product_id: str
    name: str
    on_hand: int
    reserved: int
    available: int
    is_deleted: bool


StockPage = Annotated[Page[StockView], schema_name("StockPage")]


class EventView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event at a position of its source's log; `key` is the entity, `causationId` the event that caused it.

    `actor` is who caused it from outside, such as `customer:<id>` or `deadline`; null for the effect of an event.
    """

    event_id: str
    type: str
    source: str
    position: int
    key: str
    correlation_id: str
    causation_id: str | None
    actor: str | None
    recorded_at: datetime
    data: dict[str, Any]


EventPage = Annotated[Page[EventView], schema_name("EventPage")]


class BookAddressView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An address of the address book."""

    name: str
    address: Address


class Export(Struct, frozen=True, kw_only=True, rename="camel"):
    """All that is stored about a customer; `events` are those of the account, the address book and the cart."""

    exported_at: datetime
    customer: CustomerView
    addresses: Sequence[BookAddressView]
    cart: CartView
    orders: Sequence[OrderDetail]
    events: Sequence[EventView]


class HeldStatus(StrEnum):
    """Why an event is held."""

    WAITING = "WAITING"
    """An event before it in its source's log is missing."""
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


HeldEventPage = Annotated[Page[HeldEventView], schema_name("HeldEventPage")]


class Cause(Struct, frozen=True, kw_only=True, rename="camel"):
    """The event that caused another; `type` is null if it was not received."""

    event_id: str
    type: str | None


class TimelineEvent(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event on an order's timeline; a `late` one came when the order had ended, and changed nothing."""

    event_id: str
    type: str
    source: str
    cause: Cause | None
    actor: str | None
    """Who caused it from outside; null for the effect of an event."""
    recorded_at: datetime
    latency_ms: float | None
    """Since its cause; null without one."""
    since_start_ms: float
    late: bool
    data: dict[str, Any]


class Timeline(Struct, frozen=True, kw_only=True, rename="camel"):
    """Every event of an order, causes before effects."""

    order_id: str
    items: Sequence[TimelineEvent]


class PastStep(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event of a saga; a `late` one came when the order had ended, and changed nothing."""

    type: str
    service: str
    recorded_at: datetime
    since_start_ms: float
    late: bool


class NextStep(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the saga's end waits for: one of the events `awaits` of the service."""

    step: Step
    service: str
    awaits: Sequence[str]
    since: datetime
    waited_seconds: float


class RemainingStep(Struct, frozen=True, kw_only=True, rename="camel"):
    """A step that usually follows; half of the recent orders took `p50Seconds` for it, nine of ten `p90Seconds`."""

    step: Step
    service: str
    p50_seconds: float | None
    p90_seconds: float | None


class ParkedEvent(Struct, frozen=True, kw_only=True, rename="camel"):
    """A dead letter, in the service that could not handle it."""

    service: str
    event_id: str
    event_type: str | None
    error: str
    since: datetime


class SagaView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An unfinished saga; `status` is null while events of other services are ahead of the order's own."""

    order_id: str
    status: OrderStatus | None
    created_at: datetime | None
    steps: Sequence[PastStep]
    next: NextStep | None
    remaining: Sequence[RemainingStep]
    """The next step first, and what usually follows."""
    deadline_at: datetime | None
    """When the order asks for its own cancellation, or a shipped one is overdue; null for one that has ended."""
    stuck: bool
    retrying: bool
    overdue: bool
    """The delivery deadline has passed: only the carrier or an operator ends the order."""
    booking_attempts: int
    """How often the carrier gave no clear answer, from the third time on."""
    parked: Sequence[ParkedEvent]


SagaPage = Annotated[Page[SagaView], schema_name("SagaPage")]


def event_view(recorded: RecordedEvent) -> EventView:
    """The same view that `queries.events` makes of a row."""
    return EventView(
        event_id=recorded.event_id,
        type=recorded.event_type,
        source=recorded.source,
        position=recorded.position,
        key=recorded.entity_id,
        correlation_id=recorded.correlation_id,
        causation_id=recorded.causation_id,
        actor=recorded.actor,
        recorded_at=recorded.recorded_at,
        data=msgspec.to_builtins(recorded.event),
    )
