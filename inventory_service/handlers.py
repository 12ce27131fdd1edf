"""The commands that events of other services lead to."""

from inventory_service.domain import Command, DeductStock, ReleaseStock, ReserveStock
from shared.chassis.messages.decider import Subscription, on
from shared.contracts import (
    LineItem,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    OrderNudged,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentFailed,
)


def reserve_stock(created: OrderCreated) -> ReserveStock:
    return ReserveStock(
        order_id=created.order_id,
        items=tuple(
            LineItem(product_id=item.product_id, quantity=item.quantity) for item in created.items
        ),
    )


def deduct_stock(completed: ShipmentCompleted | OrderCompleted) -> DeductStock:
    return DeductStock(order_id=completed.order_id)


def release_stock(
    ended: ShipmentFailed | ShipmentCancelled | OrderFailed | OrderCancelled,
) -> ReleaseStock:
    return ReleaseStock(order_id=ended.order_id, reason=ended.reason)


# A shipment's outcome settles the reservation. The order's outcome, which follows from it, settles it too, in case the
# broker lost the shipment's event: a final order repeats no request.
SUBSCRIPTIONS: tuple[Subscription[Command], ...] = (
    on(OrderCreated, reserve_stock),
    on(ShipmentCompleted, deduct_stock),
    on(ShipmentFailed, release_stock),
    on(ShipmentCancelled, release_stock),
    on(OrderCompleted, deduct_stock),
    on(OrderFailed, release_stock),
    on(OrderCancelled, release_stock),
    on(OrderNudged),
)
