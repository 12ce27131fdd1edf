"""What must hold of an order's story: one end, a clock while it lasts, the same version of it everywhere."""

from collections.abc import Iterator

from order_service.handlers import DEADLINE
from order_service.orders.domain import Status, is_final
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.violation import Mismatch
from shared.contracts import (
    PUBLISHERS,
    Event,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentFailed,
    ShipmentInitiated,
    StockDeducted,
    StockReleased,
    StockReservationFailed,
    StockReserved,
)
from shipping_service.domain import Status as ShipmentStatus
from shipping_service.handlers import BOOKING

SHIPMENT_ENDS = (ShipmentCompleted, ShipmentFailed, ShipmentCancelled)

AT_MOST_ONE_OF: tuple[tuple[type[Event], ...], ...] = (
    (OrderCreated,),
    (OrderCompleted, OrderCancelled, OrderFailed),
    (StockReserved, StockReservationFailed),
    (StockReleased, StockDeducted),
    (ShipmentInitiated,),
    SHIPMENT_ENDS,
)

STOCK_AT_END = {
    Status.COMPLETED: ("DEDUCTED",),
    Status.SHIPMENT_FAILED: ("RELEASED",),
    Status.CANCELLED_NO_STOCK: ("REFUSED",),
    Status.CANCELLED: ("RELEASED", "REFUSED"),
    Status.EXPIRED: ("RELEASED", "REFUSED"),
}

SHIPMENT_AT_END = {
    Status.COMPLETED: ("COMPLETED",),
    Status.SHIPMENT_FAILED: ("FAILED",),
    Status.CANCELLED_NO_STOCK: ("NONE",),
    Status.CANCELLED: ("CANCELLED",),
    Status.EXPIRED: ("CANCELLED",),
}


def ends(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """Nothing is answered, begun or ended twice. Shipping may repeat how a shipment has ended."""
    for alternatives in AT_MOST_ONE_OF:
        emitter = PUBLISHERS[alternatives[0]]
        answers: dict[str, list[str]] = {}
        for recorded in shop.service(emitter).events:
            if isinstance(recorded.event, alternatives):
                given = answers.setdefault(recorded.key, [])
                is_repeated = recorded.event_type in given
                if not (is_repeated and isinstance(recorded.event, SHIPMENT_ENDS)):
                    given.append(recorded.event_type)
        for order_id, given in answers.items():
            if len(given) > 1:
                yield Mismatch(emitter, f"order {order_id}", "one answer", ", ".join(given))


def deadlines(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """An order has ended, or is in progress and the clock watches it."""
    service = shop.service("order")
    watched = {task.key for task in service.tasks if task.kind == DEADLINE}
    for order_id, order in service.state.orders.items():
        if is_final(order) and order_id in watched:
            yield Mismatch("order", f"order {order_id}", f"{order.status}: no deadline", "one")
        if not is_final(order) and order_id not in watched:
            yield Mismatch("order", f"order {order_id}", f"{order.status}: a deadline", "none")
    for order_id in sorted(watched - service.state.orders.keys()):
        yield Mismatch("order", f"deadline of {order_id}", "its order", "none")


def bookings(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """Of a shipment that was only begun the carrier is being asked."""
    service = shop.service("shipping")
    booked = {task.key for task in service.tasks if task.kind == BOOKING}
    for order_id, shipment in service.state.shipments.items():
        if shipment.status is ShipmentStatus.INITIATED and order_id not in booked:
            yield Mismatch("shipping", f"shipment of {order_id}", "INITIATED: a booking", "none")


def agreement(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """When nothing of an order moves any more, stock and shipment are as its end wants them."""
    for order_id, order in shop.service("order").state.orders.items():
        if not is_final(order) or order_id in shop.moving:
            continue
        reservation = shop.service("inventory").state.reservations.get(order_id)
        shipment = shop.service("shipping").state.shipments.get(order_id)
        for service, part, allowed in (
            ("inventory", reservation, STOCK_AT_END[order.status]),
            ("shipping", shipment, SHIPMENT_AT_END[order.status]),
        ):
            status = part.status.value if part else "NONE"
            if status not in allowed:
                what = f"order {order_id}, {order.status}"
                yield Mismatch(service, what, " or ".join(allowed), status)
