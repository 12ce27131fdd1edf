"""What all the events amount to, as pure functions of them.

Each source has rows of its own, so only the order within a source matters, never how sources interleave.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from msgspec.structs import replace

from read_api.views import (
    Notification,
    NotificationStatus,
    Order,
    OrderStatus,
    Product,
    Reservation,
    ReservationStatus,
    Shipment,
    ShipmentStatus,
    View,
)
from shared.contracts import (
    Event,
    Line,
    NotificationFailed,
    NotificationSent,
    NotificationSkipped,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderResumed,
    ProductCreated,
    ProductDeleted,
    ProductUpdated,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
    StockAdded,
    StockAdjusted,
    StockDeducted,
    StockReleased,
    StockReservationFailed,
    StockReserved,
)
from shared.contracts.recorded import Recorded

T = TypeVar("T")

END_OF = {
    "NO_STOCK": OrderStatus.CANCELLED_NO_STOCK,
    "CUSTOMER": OrderStatus.CANCELLED,
    "EXPIRED": OrderStatus.EXPIRED,
}


class OutOfTurn(Exception):  # noqa: N818 - read as "the event is out of turn"
    """An event is about something of which its source has not spoken before."""


def evolve(view: View, recorded: Recorded) -> View:
    """The rows after an event; raises OutOfTurn. What has no rows of its own changes nothing."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case OrderCreated():
            return _with_order(view, _born(event, at))
        case (
            OrderConfirmed()
            | OrderCompleted()
            | OrderCancelled()
            | OrderFailed()
            | OrderCancellationRequested()
            | OrderResumed()
        ):
            order = _moved(_known(view.orders, event.order_id), event)
            return _with_order(view, replace(order, updated_at=at))
        case (
            ProductCreated() | ProductUpdated() | ProductDeleted() | StockAdded() | StockAdjusted()
        ):
            return _with_product(view, replace(_changed(view, event, at), updated_at=at))
        case StockReserved() | StockReservationFailed() | StockReleased() | StockDeducted():
            return _with_reservation(_counted(view, event), _held(view, event, at))
        case (
            ShipmentInitiated()
            | ShipmentDispatched()
            | ShipmentCompleted()
            | ShipmentFailed()
            | ShipmentCancelled()
        ):
            return _with_shipment(view, _shipped(view, event, at))
        case NotificationSent() | NotificationFailed() | NotificationSkipped():
            return _with_notification(view, _notified(view, event, at))
        case _:
            return view


def _known(entities: Mapping[str, T], key: str) -> T:
    if key not in entities:
        raise OutOfTurn(f"nothing is known of {key}")
    return entities[key]


def _born(created: OrderCreated, at: datetime) -> Order:
    return Order(
        order_id=created.order_id,
        user_id=created.user_id,
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


def _moved(order: Order, event: Event) -> Order:
    match event:
        case OrderConfirmed() if order.status is OrderStatus.CANCELLING:
            return replace(order, resume_status=OrderStatus.AWAITING_SHIPMENT)
        case OrderConfirmed():
            return replace(order, status=OrderStatus.AWAITING_SHIPMENT)
        case OrderCompleted(tracking_number=number):
            return _ended(order, OrderStatus.COMPLETED, tracking_number=number)
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


def _changed(
    view: View,
    event: ProductCreated | ProductUpdated | ProductDeleted | StockAdded | StockAdjusted,
    at: datetime,
) -> Product:
    if isinstance(event, ProductCreated):
        return Product(
            product_id=event.product_id, **_described(event), created_at=at, updated_at=at
        )
    product = _known(view.products, event.product_id)
    match event:
        case ProductUpdated():
            return replace(product, **_described(event))
        case ProductDeleted():
            return replace(product, is_deleted=True)
        case StockAdded(quantity=quantity) | StockAdjusted(quantity=quantity):
            return replace(product, on_hand=product.on_hand + quantity)


def _described(event: ProductCreated | ProductUpdated) -> dict[str, Any]:
    return {
        "name": event.name,
        "description": event.description,
        "price": event.price,
        "category": event.category,
        "image_url": event.image_url,
    }


def _counted(
    view: View, event: StockReserved | StockReservationFailed | StockReleased | StockDeducted
) -> View:
    """The stock counts after it; a deduction lowers both."""
    match event:
        case StockReserved(items=items):
            return _with_counts(view, items, reserved=1)
        case StockReleased(items=items):
            return _with_counts(view, items, reserved=-1)
        case StockDeducted(items=items):
            return _with_counts(view, items, reserved=-1, on_hand=-1)
        case StockReservationFailed():
            return view


def _with_counts(view: View, items: Iterable[Line], *, reserved: int, on_hand: int = 0) -> View:
    for line in items:
        product = _known(view.products, line.product_id)
        counted = replace(
            product,
            reserved=product.reserved + reserved * line.quantity,
            on_hand=product.on_hand + on_hand * line.quantity,
        )
        view = _with_product(view, counted)
    return view


def _held(
    view: View,
    event: StockReserved | StockReservationFailed | StockReleased | StockDeducted,
    at: datetime,
) -> Reservation:
    order_id = event.order_id
    match event:
        case StockReserved(items=items):
            return Reservation(
                order_id=order_id,
                status=ReservationStatus.RESERVED,
                items=items,
                created_at=at,
                updated_at=at,
            )
        case StockReservationFailed():
            return Reservation(
                order_id=order_id,
                status=ReservationStatus.REFUSED,
                reason=event.reason,
                failed_items=event.failed_items,
                created_at=at,
                updated_at=at,
            )
        case StockReleased(reason=reason):
            held = _known(view.reservations, order_id)
            return replace(held, status=ReservationStatus.RELEASED, reason=reason, updated_at=at)
        case StockDeducted():
            held = _known(view.reservations, order_id)
            return replace(held, status=ReservationStatus.DEDUCTED, updated_at=at)


def _shipped(
    view: View,
    event: ShipmentInitiated
    | ShipmentDispatched
    | ShipmentCompleted
    | ShipmentFailed
    | ShipmentCancelled,
    at: datetime,
) -> Shipment:
    order_id = event.order_id
    match event:
        case ShipmentInitiated():
            return Shipment(
                order_id=order_id,
                shipment_id=event.shipment_id,
                status=ShipmentStatus.INITIATED,
                items=event.items,
                shipping_address=event.shipping_address,
                created_at=at,
                updated_at=at,
            )
        case ShipmentCancelled(reason=reason):
            begun = view.shipments.get(order_id) or Shipment(
                order_id=order_id, status=ShipmentStatus.CANCELLED, created_at=at, updated_at=at
            )
            return replace(begun, status=ShipmentStatus.CANCELLED, reason=reason, updated_at=at)
        case ShipmentDispatched(carrier=carrier, reference=reference):
            return replace(
                _known(view.shipments, order_id),
                status=ShipmentStatus.DISPATCHED,
                carrier=carrier,
                reference=reference,
                updated_at=at,
            )
        case ShipmentCompleted(tracking_number=number):
            begun = _known(view.shipments, order_id)
            return replace(
                begun, status=ShipmentStatus.COMPLETED, tracking_number=number, updated_at=at
            )
        case ShipmentFailed(reason=reason):
            begun = _known(view.shipments, order_id)
            return replace(begun, status=ShipmentStatus.FAILED, reason=reason, updated_at=at)


def _notified(
    view: View, event: NotificationSent | NotificationFailed | NotificationSkipped, at: datetime
) -> Notification:
    before = view.notifications.get(event.notification_id)
    told = Notification(
        notification_id=event.notification_id,
        order_id=event.order_id,
        resend_of=event.resend_of,
        template=event.template,
        status=NotificationStatus.SKIPPED,
        created_at=before.created_at if before else at,
        updated_at=at,
    )
    match event:
        case NotificationSent(recipient=recipient):
            return replace(told, status=NotificationStatus.SENT, recipient=recipient)
        case NotificationFailed(recipient=recipient, error=error):
            return replace(told, status=NotificationStatus.FAILED, recipient=recipient, error=error)
        case NotificationSkipped():
            return told


def _with_order(view: View, order: Order) -> View:
    return replace(view, orders={**view.orders, order.order_id: order})


def _with_product(view: View, product: Product) -> View:
    return replace(view, products={**view.products, product.product_id: product})


def _with_reservation(view: View, reservation: Reservation) -> View:
    return replace(view, reservations={**view.reservations, reservation.order_id: reservation})


def _with_shipment(view: View, shipment: Shipment) -> View:
    return replace(view, shipments={**view.shipments, shipment.order_id: shipment})


def _with_notification(view: View, notification: Notification) -> View:
    return replace(
        view, notifications={**view.notifications, notification.notification_id: notification}
    )
