"""Events of the inventory service: the catalogue, stock, and its reservation for orders."""

from typing import Annotated, ClassVar

import msgspec

from shared.chassis.messages.event import Event, Label
from shared.contracts.types import (
    MAX_LINES,
    LineItems,
    Money,
    Name,
    OrderId,
    ProductId,
    Quantity,
    Reason,
    Stock,
    TotalQuantity,
)

Description = Annotated[str, msgspec.Meta(max_length=4000)]
Url = Annotated[str, msgspec.Meta(max_length=2000)]


class FailedItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A product of which less was available than ordered."""

    product_id: ProductId
    requested_quantity: TotalQuantity
    available_quantity: Stock


FailedItems = Annotated[tuple[FailedItem, ...], msgspec.Meta(max_length=MAX_LINES)]


class ProductEvent(Event, frozen=True, kw_only=True):
    """Published by the inventory service about a product."""

    SOURCE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "product_id"

    product_id: ProductId


class ReservationEvent(Event, frozen=True, kw_only=True):
    """Published by the inventory service about the stock of an order."""

    SOURCE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "order_id"

    order_id: OrderId


class ProductCreated(ProductEvent, frozen=True, kw_only=True):
    """A product was added to the catalogue. Its initial stock follows as `StockAdded`."""

    name: Name
    description: Description
    price: Money
    category: Label | None = None
    image_url: Url | None = None


class ProductUpdated(ProductEvent, frozen=True, kw_only=True):
    """The product's data changed; every field holds the new value."""

    name: Name
    description: Description
    price: Money
    category: Label | None = None
    image_url: Url | None = None


class ProductDeleted(ProductEvent, frozen=True, kw_only=True):
    """The product cannot be ordered any more; existing orders still contain it."""


class ProductRestored(ProductEvent, frozen=True, kw_only=True):
    """The product, which was deleted, can be ordered again; every field holds its value at the deletion."""

    name: Name
    description: Description
    price: Money
    category: Label | None = None
    image_url: Url | None = None


class StockAdded(ProductEvent, frozen=True, kw_only=True):
    """`quantity` was added to the stock."""

    quantity: Quantity
    reason: Reason | None = None


class StockAdjusted(ProductEvent, frozen=True, kw_only=True):
    """Stock was written off: `quantity` is negative."""

    quantity: Annotated[int, msgspec.Meta(ge=-1_000_000, le=-1)]
    reason: Reason | None = None


class StockReserved(ReservationEvent, frozen=True, kw_only=True):
    """Stock is reserved for every line of the order; lines with the same product are added up."""

    items: LineItems


class StockReservationFailed(ReservationEvent, frozen=True, kw_only=True):
    """Nothing is reserved for the order, and nothing will be."""

    reason: Reason
    failed_items: FailedItems


class StockReleased(ReservationEvent, frozen=True, kw_only=True):
    """Compensation: the order's reserved stock is available again."""

    items: LineItems
    reason: Reason


class StockDeducted(ReservationEvent, frozen=True, kw_only=True):
    """The order's reserved stock was shipped and deducted."""

    items: LineItems


class StockWrittenOff(ReservationEvent, frozen=True, kw_only=True):
    """The order's reserved stock is gone without a delivery: its parcel was lost."""

    items: LineItems
    reason: Reason
