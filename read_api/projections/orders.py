"""Orders, from the events of the order service."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from read_api.models import Order
from read_api.projections.unknown_entity import require
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
    DeliveryOverdue,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderResumed,
    OrderShipped,
)
from shared.contracts.order import OrderEvent, cancellation_of, status_after

CONSUMES = (
    OrderCreated,
    OrderConfirmed,
    OrderShipped,
    DeliveryOverdue,
    OrderCompleted,
    OrderCancelled,
    OrderFailed,
    OrderCancellationRequested,
    OrderResumed,
)


class Orders(Struct, frozen=True, kw_only=True):
    """By order id."""

    orders: Mapping[str, Order] = {}


def evolve(state: Orders, recorded: RecordedEvent) -> Orders:
    """The orders after one of the consumed events. Raises UnknownEntity."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case OrderCreated():
            order = _new_order(event, at)
        case OrderEvent():
            order = _apply(require(state.orders, event.order_id), event, at)
        case _:
            return state
    return Orders(orders={**state.orders, order.order_id: order})


def _new_order(created: OrderCreated, at: datetime) -> Order:
    return Order(
        order_id=created.order_id,
        user_id=created.user_id,
        guest=created.guest,
        status=status_after(created, None, is_confirmed=False),
        items=created.items,
        total_amount=created.total_amount,
        currency=created.currency,
        email=created.email,
        locale=created.locale,
        shipping_address=created.shipping_address,
        created_at=at,
        updated_at=at,
    )


def _apply(order: Order, event: OrderEvent, at: datetime) -> Order:
    is_confirmed = order.is_confirmed or isinstance(event, OrderConfirmed | OrderShipped)
    status = status_after(event, order.status, is_confirmed=is_confirmed)
    order = replace(order, status=status, is_confirmed=is_confirmed, updated_at=at)
    match event:
        case OrderShipped(carrier=carrier, tracking_number=number):
            return replace(order, carrier=carrier, tracking_number=number, shipped_at=at)
        case DeliveryOverdue():
            return replace(order, delivery_overdue_at=at)
        case OrderCompleted(tracking_number=number):
            return replace(order, tracking_number=number, completed_at=at, cancellation=None)
        case OrderCancelled(reason=reason, failed_items=failed):
            return replace(order, reason=reason, failed_items=failed)
        case OrderFailed(reason=reason):
            return replace(order, reason=reason, cancellation=None)
        case OrderCancellationRequested() if order.cancellation is None:
            return replace(order, cancellation=cancellation_of(event))
        case OrderResumed():
            return replace(order, cancellation=None)
        case _:
            return order
