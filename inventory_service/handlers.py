"""What the inventory does on hearing the others."""

from inventory_service.domain import DeductStock, ReleaseStock, ReserveStock
from shared.contracts import (
    Line,
    OrderCreated,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentFailed,
)
from shared.decider import on


def reserve_stock(created: OrderCreated) -> ReserveStock:
    """A customer wants these."""
    return ReserveStock(
        order_id=created.order_id,
        items=tuple(
            Line(product_id=item.product_id, quantity=item.quantity) for item in created.items
        ),
    )


def deduct_stock(completed: ShipmentCompleted) -> DeductStock:
    """They are delivered."""
    return DeductStock(order_id=completed.order_id)


def release_failed(failed: ShipmentFailed) -> ReleaseStock:
    """They could not be shipped."""
    return ReleaseStock(order_id=failed.order_id, reason=failed.reason)


def release_cancelled(cancelled: ShipmentCancelled) -> ReleaseStock:
    """They are not to be shipped."""
    return ReleaseStock(order_id=cancelled.order_id, reason=cancelled.reason)


REACTIONS = (
    on(OrderCreated, reserve_stock),
    on(ShipmentCompleted, deduct_stock),
    on(ShipmentFailed, release_failed),
    on(ShipmentCancelled, release_cancelled),
)
