"""Products, their counts, and what is held for orders, as the inventory service tells them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from read_api.models import Product, ReadModels, Reservation, ReservationStatus
from read_api.projections.known import known
from shared.contracts import (
    LineItem,
    ProductCreated,
    ProductDeleted,
    ProductUpdated,
    StockAdded,
    StockAdjusted,
    StockDeducted,
    StockReleased,
    StockReservationFailed,
    StockReserved,
)


def entered(created: ProductCreated, position: int, at: datetime) -> Product:
    """A product new in the catalogue; its number is the place of the event that says so."""
    return Product(
        product_id=created.product_id,
        number=position,
        **_described(created),
        created_at=at,
        updated_at=at,
    )


def changed(
    view: ReadModels,
    event: ProductUpdated | ProductDeleted | StockAdded | StockAdjusted,
    at: datetime,
) -> Product:
    """The product after what has been said of it; raises UnknownEntity."""
    product = replace(known(view.products, event.product_id), updated_at=at)
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


def counted(
    view: ReadModels, event: StockReserved | StockReservationFailed | StockReleased | StockDeducted
) -> ReadModels:
    """What there is and what is held after it; a deduction lowers both. Raises UnknownEntity."""
    match event:
        case StockReserved(items=items):
            return _with_counts(view, items, reserved=1)
        case StockReleased(items=items):
            return _with_counts(view, items, reserved=-1)
        case StockDeducted(items=items):
            return _with_counts(view, items, reserved=-1, on_hand=-1)
        case StockReservationFailed():
            return view


def _with_counts(
    view: ReadModels, items: Iterable[LineItem], *, reserved: int, on_hand: int = 0
) -> ReadModels:
    for line in items:
        product = known(view.products, line.product_id)
        present = replace(
            product,
            reserved=product.reserved + reserved * line.quantity,
            on_hand=product.on_hand + on_hand * line.quantity,
        )
        view = with_product(view, present)
    return view


def with_product(view: ReadModels, product: Product) -> ReadModels:
    """The view with this product in it, instead of an older one."""
    return replace(view, products={**view.products, product.product_id: product})


def held(
    view: ReadModels,
    event: StockReserved | StockReservationFailed | StockReleased | StockDeducted,
    at: datetime,
) -> Reservation:
    """The order's reservation after it; raises UnknownEntity."""
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
            before = known(view.reservations, order_id)
            return replace(before, status=ReservationStatus.RELEASED, reason=reason, updated_at=at)
        case StockDeducted():
            before = known(view.reservations, order_id)
            return replace(before, status=ReservationStatus.DEDUCTED, updated_at=at)
