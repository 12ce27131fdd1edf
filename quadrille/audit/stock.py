"""Checks of the stock: it is conserved, and a reservation has exactly the ordered quantities."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from inventory_service.domain import ReservationStatus
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.violation import Mismatch
from shared.contracts import (
    LineItem,
    OrderCreated,
    OrderItem,
    ShipmentFailed,
    ShipmentInitiated,
    StockAdded,
    StockAdjusted,
    StockDeducted,
    StockReleased,
    StockReserved,
    StockWrittenOff,
)

WITH_ORDERED_ITEMS = (
    StockReserved,
    StockReleased,
    StockDeducted,
    StockWrittenOff,
    ShipmentInitiated,
    ShipmentFailed,
)


def stock(shop: ShopSnapshot) -> Iterator[Mismatch]:
    added, deducted = _movements(shop)
    reservations = _reservations(shop)
    for product_id, product in shop.inventory.state.products.items():
        entity = f"product {product_id}"
        on_hand, reserved = product.on_hand, product.reserved
        if on_hand != added[product_id] - deducted[product_id]:
            expected = f"on hand {added[product_id] - deducted[product_id]}"
            sums = f"{added[product_id]} added, {deducted[product_id]} deducted"
            yield Mismatch("inventory", entity, f"{expected}: {sums}", f"on hand {on_hand}")
        if reserved != reservations[product_id]:
            expected = f"reserved {reservations[product_id]}: the sum of the reservations"
            yield Mismatch("inventory", entity, expected, f"reserved {reserved}")
        if not 0 <= reserved <= on_hand:
            counts = f"reserved {reserved}, on hand {on_hand}"
            yield Mismatch("inventory", entity, "0 ≤ reserved ≤ on hand", counts)


def _movements(shop: ShopSnapshot) -> tuple[Counter[str], Counter[str]]:
    """The quantities added, less those written off by hand, and those deducted or lost, by product."""
    added: Counter[str] = Counter()
    deducted: Counter[str] = Counter()
    for event in (recorded.event for recorded in shop.inventory.events):
        if isinstance(event, StockAdded | StockAdjusted):
            added[event.product_id] += event.quantity
        elif isinstance(event, StockDeducted | StockWrittenOff):
            deducted.update(_quantities(event.items))
    return added, deducted


def _reservations(shop: ShopSnapshot) -> Counter[str]:
    reserved: Counter[str] = Counter()
    for reservation in shop.inventory.state.reservations.values():
        if reservation.status is ReservationStatus.RESERVED:
            reserved.update(_quantities(reservation.items))
    return reserved


def quantities(shop: ShopSnapshot) -> Iterator[Mismatch]:
    ordered = {
        recorded.event.order_id: _quantities(recorded.event.items)
        for recorded in shop.order.all_events
        if isinstance(recorded.event, OrderCreated)
    }
    for recorded in chain(shop.inventory.events, shop.shipping.events):
        event = recorded.event
        if isinstance(event, WITH_ORDERED_ITEMS):
            expected, actual = ordered.get(event.order_id, Counter()), _quantities(event.items)
            if actual != expected:
                entity = f"{recorded.event_type} of order {event.order_id}"
                yield Mismatch(recorded.source, entity, _text(expected), _text(actual))


def _quantities(items: Iterable[LineItem | OrderItem]) -> Counter[str]:
    """By product: an order may have several lines of one product."""
    total: Counter[str] = Counter()
    for item in items:
        total[item.product_id] += item.quantity
    return total


def _text(quantities: Counter[str]) -> str:
    return ", ".join(f"{name}:{n}" for name, n in sorted(quantities.items())) or "nothing"
