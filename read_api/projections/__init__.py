"""What all the events amount to, as pure functions of them.

Each source has rows of its own, so only the order within a source matters, never how sources interleave.
"""

from msgspec.structs import replace

from read_api.models import Customer, Notification, Order, ReadModels, Reservation, Shipment
from read_api.projections import customers, notifications, orders, shipments, stock
from read_api.projections.known import UnknownEntity, known
from read_api.projections.stock import with_product
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
    CustomerRegistered,
    CustomerUpdated,
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

__all__ = ["UnknownEntity", "evolve"]


def evolve(view: ReadModels, recorded: RecordedEvent) -> ReadModels:
    """The rows after an event; raises UnknownEntity. What has no rows of its own changes nothing."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case OrderCreated():
            return _with_order(view, orders.born(event, at))
        case (
            OrderConfirmed()
            | OrderCompleted()
            | OrderCancelled()
            | OrderFailed()
            | OrderCancellationRequested()
            | OrderResumed()
        ):
            return _with_order(view, orders.moved(known(view.orders, event.order_id), event, at))
        case CustomerRegistered() | CustomerUpdated():
            return _with_customer(view, customers.introduced(view, event, at))
        case ProductCreated():
            return with_product(view, stock.entered(event, recorded.position, at))
        case ProductUpdated() | ProductDeleted() | StockAdded() | StockAdjusted():
            return with_product(view, stock.changed(view, event, at))
        case StockReserved() | StockReservationFailed() | StockReleased() | StockDeducted():
            return _with_reservation(stock.counted(view, event), stock.held(view, event, at))
        case (
            ShipmentInitiated()
            | ShipmentDispatched()
            | ShipmentCompleted()
            | ShipmentFailed()
            | ShipmentCancelled()
        ):
            return _with_shipment(view, shipments.shipped(view, event, at))
        case NotificationSent() | NotificationFailed() | NotificationSkipped():
            return _with_notification(view, notifications.notified(view, event, at))
        case _:
            return view


def _with_order(view: ReadModels, order: Order) -> ReadModels:
    return replace(view, orders={**view.orders, order.order_id: order})


def _with_customer(view: ReadModels, customer: Customer) -> ReadModels:
    return replace(view, customers={**view.customers, customer.user_id: customer})


def _with_reservation(view: ReadModels, reservation: Reservation) -> ReadModels:
    return replace(view, reservations={**view.reservations, reservation.order_id: reservation})


def _with_shipment(view: ReadModels, shipment: Shipment) -> ReadModels:
    return replace(view, shipments={**view.shipments, shipment.order_id: shipment})


def _with_notification(view: ReadModels, notification: Notification) -> ReadModels:
    return replace(
        view, notifications={**view.notifications, notification.notification_id: notification}
    )
