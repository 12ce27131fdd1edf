"""Products and their counts, from the events of the inventory service."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from read_api.models import Product
from read_api.projections.unknown_entity import require
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
    LineItem,
    ProductCreated,
    ProductDeleted,
    ProductRestored,
    ProductUpdated,
    StockAdded,
    StockAdjusted,
    StockDeducted,
    StockReleased,
    StockReserved,
    StockWrittenOff,
)

CONSUMES = (
    ProductCreated,
    ProductUpdated,
    ProductDeleted,
    ProductRestored,
    StockAdded,
    StockAdjusted,
    StockReserved,
    StockReleased,
    StockDeducted,
    StockWrittenOff,
)


class Catalogue(Struct, frozen=True, kw_only=True):
    """By product id."""

    products: Mapping[str, Product] = {}


def evolve(state: Catalogue, recorded: RecordedEvent) -> Catalogue:
    """The catalogue after one of the consumed events. Raises UnknownEntity."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case ProductCreated():
            return _with_product(state, _new_product(event, recorded.position, at))
        case (
            ProductUpdated() | ProductDeleted() | ProductRestored() | StockAdded() | StockAdjusted()
        ):
            product = require(state.products, event.product_id)
            return _with_product(state, replace(_apply(product, event), updated_at=at))
        case StockReserved(items=items):
            return _with_counts(state, items, reserved=1)
        case StockReleased(items=items):
            return _with_counts(state, items, reserved=-1)
        case StockDeducted(items=items) | StockWrittenOff(items=items):
            return _with_counts(state, items, reserved=-1, on_hand=-1)
        case _:
            return state


def _new_product(created: ProductCreated, position: int, at: datetime) -> Product:
    return Product(
        product_id=created.product_id,
        number=position,
        **_description(created),
        created_at=at,
        updated_at=at,
    )


def _apply(
    product: Product,
    event: ProductUpdated | ProductDeleted | ProductRestored | StockAdded | StockAdjusted,
) -> Product:
    match event:
        case ProductUpdated():
            return replace(product, **_description(event))
        case ProductDeleted():
            return replace(product, is_deleted=True)
        case ProductRestored():
            return replace(product, is_deleted=False)
        case StockAdded(quantity=quantity) | StockAdjusted(quantity=quantity):
            return replace(product, on_hand=product.on_hand + quantity)


def _description(event: ProductCreated | ProductUpdated) -> dict[str, Any]:
    return {
        "name": event.name,
        "description": event.description,
        "price": event.price,
        "category": event.category,
        "image_url": event.image_url,
    }


def _with_counts(
    state: Catalogue, items: Iterable[LineItem], *, reserved: int, on_hand: int = 0
) -> Catalogue:
    """Each count changed by the quantity of its line, multiplied by this factor."""
    products = dict(state.products)
    for line in items:
        product = require(products, line.product_id)
        products[line.product_id] = replace(
            product,
            reserved=product.reserved + reserved * line.quantity,
            on_hand=product.on_hand + on_hand * line.quantity,
        )
    return Catalogue(products=products)


def _with_product(state: Catalogue, product: Product) -> Catalogue:
    return Catalogue(products={**state.products, product.product_id: product})
