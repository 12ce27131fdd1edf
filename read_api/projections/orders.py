"""Orders, from the events of the order service."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from read_api.models import Order, OrderStatus
from read_api.projections.unknown_entity import require
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderResumed,
)
from shared.contracts.order import OrderEvent

CONSUMES = (
    OrderCreated,
    OrderConfirmed,
    OrderCompleted,
    OrderCancelled,
    OrderFailed,
    OrderCancellationRequested,
    OrderResumed,
)

END_OF = {
    "NO_STOCK": OrderStatus.CANCELLED_NO_STOCK,
    "CUSTOMER": OrderStatus.CANCELLED,
    "EXPIRED": OrderStatus.EXPIRED,
}


class Orders(Struct, frozen=True, kw_only=True):
    """By order id."""

    orders: Mapping[str, Order] = {}


def evolve(state: Orders, recorded: RecordedEvent) -> Orders:
    """The orders after one of the consumed events. Raises UnknownEntity."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case OrderCreated():
            order = _new_order(event, at)
        case OrderEvent(order_id=order_id):
            order = replace(_apply(require(state.orders, order_id), event, at), updated_at=at)
        case _:
            return state
    return Orders(orders={**state.orders, order.order_id: order})


def _new_order(created: OrderCreated, at: datetime) -> Order:
    return Order(
        order_id=created.order_id,
        user_id=created.user_id,
        guest=created.guest,
        status=OrderStatus.PENDING,
        items=created.items,
        total_amount=created.total_amount,
        currency=created.currency,
        email=created.email,
        locale=created.locale,
        shipping_address=created.shipping_address,
        created_at=at,
        updated_at=at,
    )


def _apply(order: Order, event: Event, at: datetime) -> Order:
    match event:
        case OrderConfirmed() if order.status is OrderStatus.CANCELLING:
            return replace(order, resume_status=OrderStatus.AWAITING_SHIPMENT)
        case OrderConfirmed():
            return replace(order, status=OrderStatus.AWAITING_SHIPMENT)
        case OrderCompleted(tracking_number=number):
            return _with_end(order, OrderStatus.COMPLETED, tracking_number=number, completed_at=at)
        case OrderCancelled(reason=reason, failed_items=failed):
            return _with_end(order, END_OF[reason], reason=reason, failed_items=failed)
        case OrderFailed(reason=reason):
            return _with_end(order, OrderStatus.SHIPMENT_FAILED, reason=reason)
        case OrderCancellationRequested(reason=reason) if (
            order.status is not OrderStatus.CANCELLING
        ):
            return replace(
                order,
                status=OrderStatus.CANCELLING,
                resume_status=order.status,
                cancellation=reason,
            )
        case OrderResumed():
            return replace(
                order,
                status=order.resume_status or OrderStatus.PENDING,
                resume_status=None,
                cancellation=None,
            )
        case _:
            return order


def _with_end(order: Order, status: OrderStatus, **changes: object) -> Order:
    return replace(order, status=status, resume_status=None, **changes)
