"""Checks of the sagas: one outcome for each order, a deadline until then, and agreement of the services after it."""

from collections import defaultdict
from collections.abc import Iterator

from order_service.handlers import DEADLINE
from order_service.orders.domain import has_deadline, is_final
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.violation import Mismatch
from shared.chassis.messages.event import Event
from shared.contracts import (
    DeliveryOverdue,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    OrderShipped,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
    StockDeducted,
    StockReleased,
    StockReservationFailed,
    StockReserved,
    StockWrittenOff,
)
from shared.contracts.order import OrderStatus
from shipping_service.domain import ShipmentStatus
from shipping_service.handlers import BOOKING

SHIPMENT_OUTCOMES = (ShipmentCompleted, ShipmentFailed, ShipmentCancelled)

AT_MOST_ONE_OF: tuple[tuple[type[Event], ...], ...] = (
    (OrderCreated,),
    (OrderShipped,),
    (DeliveryOverdue,),
    (OrderCompleted, OrderCancelled, OrderFailed),
    (StockReserved, StockReservationFailed),
    (StockReleased, StockDeducted, StockWrittenOff),
    (ShipmentInitiated,),
    (ShipmentDispatched,),
    SHIPMENT_OUTCOMES,
)

RESERVATION_STATUSES = {
    OrderStatus.COMPLETED: ("DEDUCTED",),
    OrderStatus.SHIPMENT_FAILED: ("RELEASED", "WRITTEN_OFF"),
    OrderStatus.CANCELLED_NO_STOCK: ("REFUSED",),
    OrderStatus.CANCELLED: ("RELEASED", "REFUSED"),
    OrderStatus.EXPIRED: ("RELEASED", "REFUSED"),
}

SHIPMENT_STATUSES = {
    OrderStatus.COMPLETED: ("COMPLETED",),
    OrderStatus.SHIPMENT_FAILED: ("FAILED",),
    OrderStatus.CANCELLED_NO_STOCK: ("NONE",),
    OrderStatus.CANCELLED: ("CANCELLED",),
    OrderStatus.EXPIRED: ("CANCELLED",),
}


def outcomes(shop: ShopSnapshot) -> Iterator[Mismatch]:
    for event_types in AT_MOST_ONE_OF:
        publisher = event_types[0].SOURCE or ""
        by_order: dict[str, list[str]] = defaultdict(list)
        for recorded in shop.service(publisher).events:
            event = recorded.event
            if isinstance(event, event_types):
                published = by_order[event.entity_id]
                # Shipping repeats a shipment's outcome if it is asked to cancel the shipment afterwards.
                is_repeated = recorded.event_type in published
                if not (is_repeated and isinstance(event, SHIPMENT_OUTCOMES)):
                    published.append(recorded.event_type)
        for order_id, published in by_order.items():
            if len(published) > 1:
                yield Mismatch(publisher, f"order {order_id}", "one of them", ", ".join(published))


def deadlines(shop: ShopSnapshot) -> Iterator[Mismatch]:
    service = shop.order
    orders = service.state.orders
    with_deadline = {task.task_key for task in service.tasks if task.kind == DEADLINE}
    for order_id, order in orders.items():
        if not has_deadline(order) and order_id in with_deadline:
            yield Mismatch("order", f"order {order_id}", f"no deadline while {order.status}", "one")
        if has_deadline(order) and order_id not in with_deadline:
            yield Mismatch("order", f"order {order_id}", f"a deadline while {order.status}", "none")
    for order_id in sorted(with_deadline - orders.keys()):
        yield Mismatch("order", f"deadline of {order_id}", "an order", "none")


def bookings(shop: ShopSnapshot) -> Iterator[Mismatch]:
    service = shop.shipping
    with_booking = {task.task_key for task in service.tasks if task.kind == BOOKING}
    for order_id, shipment in service.state.shipments.items():
        if shipment.status is ShipmentStatus.INITIATED and order_id not in with_booking:
            entity = f"shipment of {order_id}"
            yield Mismatch("shipping", entity, "a booking task while INITIATED", "none")


def agreement(shop: ShopSnapshot) -> Iterator[Mismatch]:
    reservations = shop.inventory.state.reservations
    shipments = shop.shipping.state.shipments
    for order_id, order in shop.order.state.orders.items():
        if not is_final(order) or order_id in shop.unsettled_orders:
            continue
        for service, part, statuses in (
            ("inventory", reservations.get(order_id), RESERVATION_STATUSES[order.status]),
            ("shipping", shipments.get(order_id), SHIPMENT_STATUSES[order.status]),
        ):
            status = part.status.value if part else "NONE"
            if status not in statuses:
                entity = f"order {order_id}, {order.status}"
                yield Mismatch(service, entity, " or ".join(statuses), status)
