"""What must hold of an order's story: one end, a clock while it lasts, the same version of it everywhere."""

from collections.abc import Iterator

from order_service.handlers import DEADLINE
from order_service.orders.domain import Status, is_final
from quadrille.audit.databases import Shop
from quadrille.audit.violation import Evidence
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


def ends(shop: Shop) -> Iterator[Evidence]:
    """Nothing is answered, begun or ended twice. Shipping may repeat how a shipment has ended."""
    for alternatives in AT_MOST_ONE_OF:
        emitter = PUBLISHERS[alternatives[0]]
        answers: dict[str, list[str]] = {}
        for recorded in shop.ledger(emitter).events:
            if isinstance(recorded.event, alternatives):
                given = answers.setdefault(recorded.key, [])
                is_repeated = recorded.event_type in given
                if not (is_repeated and isinstance(recorded.event, SHIPMENT_ENDS)):
                    given.append(recorded.event_type)
        for order_id, given in answers.items():
            if len(given) > 1:
                yield Evidence(emitter, f"order {order_id}", "one answer", ", ".join(given))


def deadlines(shop: Shop) -> Iterator[Evidence]:
    """An order has ended, or is in progress and the clock watches it."""
    ledger = shop.ledger("order")
    watched = {task.key for task in ledger.tasks if task.kind == DEADLINE}
    for order_id, order in ledger.state.orders.items():
        if is_final(order) and order_id in watched:
            yield Evidence("order", f"order {order_id}", f"{order.status}: no deadline", "one")
        if not is_final(order) and order_id not in watched:
            yield Evidence("order", f"order {order_id}", f"{order.status}: a deadline", "none")
    for order_id in sorted(watched - ledger.state.orders.keys()):
        yield Evidence("order", f"deadline of {order_id}", "its order", "none")


def bookings(shop: Shop) -> Iterator[Evidence]:
    """Of a shipment that was only begun the carrier is being asked."""
    ledger = shop.ledger("shipping")
    booked = {task.key for task in ledger.tasks if task.kind == BOOKING}
    for order_id, shipment in ledger.state.shipments.items():
        if shipment.status is ShipmentStatus.INITIATED and order_id not in booked:
            yield Evidence("shipping", f"shipment of {order_id}", "INITIATED: a booking", "none")


def agreement(shop: Shop) -> Iterator[Evidence]:
    """When nothing of an order moves any more, stock and shipment are as its end wants them."""
    for order_id, order in shop.ledger("order").state.orders.items():
        if not is_final(order) or order_id in shop.moving:
            continue
        reservation = shop.ledger("inventory").state.reservations.get(order_id)
        shipment = shop.ledger("shipping").state.shipments.get(order_id)
        for service, part, allowed in (
            ("inventory", reservation, STOCK_AT_END[order.status]),
            ("shipping", shipment, SHIPMENT_AT_END[order.status]),
        ):
            status = part.status.value if part else "NONE"
            if status not in allowed:
                what = f"order {order_id}, {order.status}"
                yield Evidence(service, what, " or ".join(allowed), status)
