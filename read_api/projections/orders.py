"""Orders, as the order service tells them."""

from datetime import datetime

from msgspec.structs import replace

from read_api.models import Order, OrderStatus
from shared.chassis.messages.event import Event
from shared.contracts import (
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderResumed,
)

END_OF = {
    "NO_STOCK": OrderStatus.CANCELLED_NO_STOCK,
    "CUSTOMER": OrderStatus.CANCELLED,
    "EXPIRED": OrderStatus.EXPIRED,
}


def born(created: OrderCreated, at: datetime) -> Order:
    """An order at its beginning."""
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


def moved(order: Order, event: Event, at: datetime) -> Order:
    """The order after it has gone on, or ended."""
    return replace(_stepped(order, event, at), updated_at=at)


def _stepped(order: Order, event: Event, at: datetime) -> Order:
    match event:
        case OrderConfirmed() if order.status is OrderStatus.CANCELLING:
            return replace(order, resume_status=OrderStatus.AWAITING_SHIPMENT)
        case OrderConfirmed():
            return replace(order, status=OrderStatus.AWAITING_SHIPMENT)
        case OrderCompleted(tracking_number=number):
            return _ended(order, OrderStatus.COMPLETED, tracking_number=number, completed_at=at)
        case OrderCancelled(reason=reason, failed_items=failed):
            return _ended(order, END_OF[reason], reason=reason, failed_items=failed)
        case OrderFailed(reason=reason):
            return _ended(order, OrderStatus.SHIPMENT_FAILED, reason=reason)
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


def _ended(order: Order, status: OrderStatus, **facts: object) -> Order:
    return replace(order, status=status, resume_status=None, **facts)
