"""The rules of an order: priced by our own list, carried by events to exactly one end.

Events arrive in any order. One that has no transition from the order's present state changes nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from order_service.orders.pricing import Prices, WantedItem, priced
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.contracts import (
    FailedItem,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderId,
    OrderItem,
    OrderResumed,
)


class Status(StrEnum):
    """Where an order stands; the API shows these words."""

    PENDING = "PENDING"
    AWAITING_SHIPMENT = "AWAITING_SHIPMENT"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    CANCELLED_NO_STOCK = "CANCELLED_NO_STOCK"
    SHIPMENT_FAILED = "SHIPMENT_FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


OPEN = frozenset({Status.PENDING, Status.AWAITING_SHIPMENT, Status.CANCELLING})

CancellationReason = Literal["CUSTOMER", "EXPIRED"]
"""Who wants the order stopped."""

END_OF = {
    "NO_STOCK": Status.CANCELLED_NO_STOCK,
    "CUSTOMER": Status.CANCELLED,
    "EXPIRED": Status.EXPIRED,
}


class Order(Struct, frozen=True, kw_only=True):
    """One order, from its creation to its one end."""

    order_id: str
    user_id: str
    guest: bool = False
    """Whether nobody was signed in: then the id is the order's secret."""
    status: Status
    items: tuple[OrderItem, ...]
    total_amount: int
    currency: str
    email: str | None = None
    locale: str | None = None
    shipping_address: dict[str, str] | None = None
    resume_status: Status | None = None
    """While CANCELLING: the state to go back to if shipping refuses."""
    cancellation: CancellationReason | None = None
    tracking_number: str | None = None
    reason: str | None = None
    """Why it ended without delivery."""
    failed_items: tuple[FailedItem, ...] = ()
    created_at: datetime
    updated_at: datetime


Orders = Mapping[str, Order]
"""By order id."""


class PlaceOrder(Struct, frozen=True, kw_only=True):
    """Accept an order at our prices."""

    order_id: OrderId
    user_id: str
    guest: bool = False
    email: str | None = None
    locale: str | None = None
    items: tuple[WantedItem, ...]
    currency: str
    shipping_address: dict[str, str] | None = None


class ConfirmOrder(Struct, frozen=True, kw_only=True):
    """Its stock is held."""

    order_id: OrderId


class RejectOrder(Struct, frozen=True, kw_only=True):
    """There is no stock for it."""

    order_id: OrderId
    failed_items: tuple[FailedItem, ...]


class CompleteOrder(Struct, frozen=True, kw_only=True):
    """It is delivered."""

    order_id: OrderId
    tracking_number: str


class FailOrder(Struct, frozen=True, kw_only=True):
    """It can not be shipped."""

    order_id: OrderId
    reason: str


class RequestCancellation(Struct, frozen=True, kw_only=True):
    """Ask shipping to stop it, for the customer or for the clock."""

    order_id: OrderId
    reason: CancellationReason
    note: str | None = None


class AcceptCancellation(Struct, frozen=True, kw_only=True):
    """Shipping has stopped it."""

    order_id: OrderId


class RefuseCancellation(Struct, frozen=True, kw_only=True):
    """Shipping could not stop it any more."""

    order_id: OrderId
    reason: str


FollowUp = (
    ConfirmOrder
    | RejectOrder
    | CompleteOrder
    | FailOrder
    | RequestCancellation
    | AcceptCancellation
    | RefuseCancellation
)
Command = PlaceOrder | FollowUp


def decide(orders: Orders, prices: Prices, command: Command) -> list[Event]:
    """The events that the command leads to.

    Raises Rejected: `product-not-for-sale` or `price-changed` for a new order, `unknown-order` and `order-final`
    for a customer's cancellation.
    """
    if isinstance(command, PlaceOrder):
        return [] if command.order_id in orders else [_create(prices, command)]
    order = orders.get(command.order_id)
    if isinstance(command, RequestCancellation):
        return _request_cancellation(order, command)
    if order is None:
        raise LookupError(f"{type(command).__name__} for an order that was never created")
    return [] if is_final(order) else _transition(order, command)


def is_final(order: Order) -> bool:
    """Whether the order has ended; nothing moves it any more."""
    return order.status not in OPEN


def _transition(order: Order, command: FollowUp) -> list[Event]:
    """The table of an open order's transitions; what is not listed changes nothing."""
    order_id = order.order_id
    match order.status, command:
        case Status.PENDING, ConfirmOrder():
            return [OrderConfirmed(order_id=order_id)]
        case Status.CANCELLING, ConfirmOrder() if order.resume_status is Status.PENDING:
            return [OrderConfirmed(order_id=order_id)]
        case Status.PENDING, RejectOrder(failed_items=failed):
            return [OrderCancelled(order_id=order_id, reason="NO_STOCK", failed_items=failed)]
        case Status.CANCELLING, RejectOrder() | AcceptCancellation():
            return [OrderCancelled(order_id=order_id, reason=order.cancellation or "CUSTOMER")]
        case Status.CANCELLING, RefuseCancellation(reason=reason):
            return [OrderResumed(order_id=order_id, reason=reason)]
        case _, CompleteOrder(tracking_number=tracking_number):
            return [OrderCompleted(order_id=order_id, tracking_number=tracking_number)]
        case _, FailOrder(reason=reason):
            return [OrderFailed(order_id=order_id, reason=reason)]
        case _:
            return []


def _request_cancellation(order: Order | None, command: RequestCancellation) -> list[Event]:
    asked = OrderCancellationRequested(
        order_id=command.order_id, reason=command.reason, note=command.note
    )
    by_customer = command.reason == "CUSTOMER"
    if order is None:
        raise Rejected("unknown-order", f"there is no order {command.order_id}")
    if is_final(order):
        if by_customer:
            raise Rejected("order-final", f"the order is {order.status} already")
        return []
    if order.status is Status.CANCELLING:
        # A customer who asks again is answered alike; the clock asks again, in case it went unheard.
        return [] if by_customer else [replace(asked, reason=order.cancellation or "EXPIRED")]
    return [asked]


def _create(prices: Prices, command: PlaceOrder) -> OrderCreated:
    items = tuple(priced(prices, item) for item in command.items)
    return OrderCreated(
        order_id=command.order_id,
        user_id=command.user_id,
        guest=command.guest,
        email=command.email,
        locale=command.locale,
        items=items,
        total_amount=sum(item.price * item.quantity for item in items),
        currency=command.currency,
        shipping_address=command.shipping_address,
    )


def evolve(orders: Orders, recorded: RecordedEvent) -> Orders:
    """The orders after an event of ours."""
    match recorded.event:
        case OrderCreated() as created:
            order = _born(created, recorded.recorded_at)
        case (
            OrderConfirmed()
            | OrderCompleted()
            | OrderCancelled()
            | OrderFailed()
            | OrderCancellationRequested()
            | OrderResumed()
        ) as event:
            moved = _moved(orders[event.order_id], event)
            order = replace(moved, updated_at=recorded.recorded_at)
        case _:
            return orders
    return {**orders, order.order_id: order}


def _born(created: OrderCreated, at: datetime) -> Order:
    return Order(
        order_id=created.order_id,
        user_id=created.user_id,
        guest=created.guest,
        status=Status.PENDING,
        items=created.items,
        total_amount=created.total_amount,
        currency=created.currency,
        email=created.email,
        locale=created.locale,
        shipping_address=created.shipping_address,
        created_at=at,
        updated_at=at,
    )


def _moved(order: Order, event: Event) -> Order:
    match event:
        case OrderConfirmed() if order.status is Status.CANCELLING:
            return replace(order, resume_status=Status.AWAITING_SHIPMENT)
        case OrderConfirmed():
            return replace(order, status=Status.AWAITING_SHIPMENT)
        case OrderCompleted(tracking_number=number):
            return _ended(order, Status.COMPLETED, tracking_number=number)
        case OrderCancelled(reason=reason, failed_items=failed):
            return _ended(order, END_OF[reason], reason=reason, failed_items=failed)
        case OrderFailed(reason=reason):
            return _ended(order, Status.SHIPMENT_FAILED, reason=reason)
        case OrderCancellationRequested() if order.status is Status.CANCELLING:
            return order
        case OrderCancellationRequested(reason=reason):
            return replace(
                order,
                status=Status.CANCELLING,
                resume_status=order.status,
                cancellation=reason,
            )
        case OrderResumed():
            return replace(
                order,
                status=order.resume_status or Status.PENDING,
                resume_status=None,
                cancellation=None,
            )
        case _:
            return order


def _ended(order: Order, status: Status, **facts: object) -> Order:
    return replace(order, status=status, resume_status=None, **facts)
