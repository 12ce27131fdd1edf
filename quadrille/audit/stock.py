"""What must hold of the goods: none is lost, none is made, and an order moves as one."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from inventory_service.domain import Status
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
)

MOVES = (StockReserved, StockReleased, StockDeducted, ShipmentInitiated, ShipmentFailed)


def stock(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """Whatever came in is on hand, written off or delivered; what is reserved, is so for somebody."""
    came, left = _movements(shop)
    held = _held(shop)
    for name, product in shop.service("inventory").state.products.items():
        on_hand, reserved = product.on_hand, product.reserved
        what = f"product {name}"
        if on_hand != came[name] - left[name]:
            sums = f"{came[name] - left[name]}: {came[name]} came in, {left[name]} left"
            yield Mismatch("inventory", what, f"on hand {sums}", f"on hand {on_hand}")
        if reserved != held[name]:
            sums = f"{held[name]}: what its reservations hold"
            yield Mismatch("inventory", what, f"reserved {sums}", f"reserved {reserved}")
        if not 0 <= reserved <= on_hand:
            counts = f"reserved {reserved}, on hand {on_hand}"
            yield Mismatch("inventory", what, "0 ≤ reserved ≤ on hand", counts)


def _movements(shop: ShopSnapshot) -> tuple[Counter[str], Counter[str]]:
    """Of each product how many came in, less those written off, and how many were delivered."""
    came: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for event in (recorded.event for recorded in shop.service("inventory").events):
        if isinstance(event, StockAdded | StockAdjusted):
            came[event.product_id] += event.quantity
        elif isinstance(event, StockDeducted):
            left.update(_quantities(event.items))
    return came, left


def _held(shop: ShopSnapshot) -> Counter[str]:
    held: Counter[str] = Counter()
    for reservation in shop.service("inventory").state.reservations.values():
        if reservation.status is Status.RESERVED:
            held.update(_quantities(reservation.items))
    return held


def goods(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """What is held, shipped, deducted or released is what was ordered, no line more or less."""
    ordered: dict[str, Counter[str]] = {}
    for recorded in shop.service("order").all_events:
        if isinstance(recorded.event, OrderCreated):
            ordered[recorded.key] = _quantities(recorded.event.items)
    for recorded in chain(shop.service("inventory").events, shop.service("shipping").events):
        if isinstance(recorded.event, MOVES):
            expected = ordered.get(recorded.key, Counter())
            found = _quantities(recorded.event.items)
            if found != expected:
                what = f"{recorded.event_type} of order {recorded.key}"
                yield Mismatch(recorded.source, what, _listed(expected), _listed(found))


def _quantities(items: Iterable[LineItem | OrderItem]) -> Counter[str]:
    total: Counter[str] = Counter()
    for line in items:
        total[line.product_id] += line.quantity
    return total


def _listed(quantities: Counter[str]) -> str:
    return ", ".join(f"{name}:{n}" for name, n in sorted(quantities.items())) or "nothing"
