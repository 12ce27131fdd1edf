"""What the inventory does on hearing the others."""

from inventory_service.domain import Command, DeductStock, ReleaseStock, ReserveStock
from shared.chassis.messages.decider import Subscription, on
from shared.contracts import (
    LineItem,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentFailed,
)


def reserve_stock(created: OrderCreated) -> ReserveStock:
    """A customer wants these."""
    return ReserveStock(
        order_id=created.order_id,
        items=tuple(
            LineItem(product_id=item.product_id, quantity=item.quantity) for item in created.items
        ),
    )


def deduct_stock(completed: ShipmentCompleted | OrderCompleted) -> DeductStock:
    """They are delivered."""
    return DeductStock(order_id=completed.order_id)


def release_stock(
    ended: ShipmentFailed | ShipmentCancelled | OrderFailed | OrderCancelled,
) -> ReleaseStock:
    """They will not be shipped."""
    return ReleaseStock(order_id=ended.order_id, reason=ended.reason)


# The shipment's end settles a reservation. The order's end, which follows from it, does so too where the
# broker has lost the shipment's: an ended order asks nobody again.
SUBSCRIPTIONS: tuple[Subscription[Command], ...] = (
    on(OrderCreated, reserve_stock),
    on(ShipmentCompleted, deduct_stock),
    on(ShipmentFailed, release_stock),
    on(ShipmentCancelled, release_stock),
    on(OrderCompleted, deduct_stock),
    on(OrderFailed, release_stock),
    on(OrderCancelled, release_stock),
)
