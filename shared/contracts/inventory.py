"""What the inventory service says."""

from typing import Annotated, ClassVar

import msgspec

from shared.contracts.event import (
    MAX_LINES,
    Event,
    Id,
    LineItems,
    Money,
    Name,
    Quantity,
    Reason,
    Stock,
    Total,
    Word,
)

Description = Annotated[str, msgspec.Meta(max_length=4000)]
Url = Annotated[str, msgspec.Meta(max_length=2000)]


class FailedItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A product of which fewer were available than asked for."""

    product_id: Id
    requested_quantity: Total
    available_quantity: Stock


FailedItems = Annotated[tuple[FailedItem, ...], msgspec.Meta(max_length=MAX_LINES)]


class ProductCreated(Event, frozen=True, kw_only=True):
    """A product entered the catalogue. Its first stock follows as `StockAdded`."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id
    name: Name
    description: Description
    price: Money
    category: Word | None = None
    image_url: Url | None = None


class ProductUpdated(Event, frozen=True, kw_only=True):
    """The product is now described so; every field is the new one."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id
    name: Name
    description: Description
    price: Money
    category: Word | None = None
    image_url: Url | None = None


class ProductDeleted(Event, frozen=True, kw_only=True):
    """The product can not be ordered any more; old orders still show it."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id


class StockAdded(Event, frozen=True, kw_only=True):
    """So many came in."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id
    quantity: Quantity
    reason: Reason | None = None


class StockAdjusted(Event, frozen=True, kw_only=True):
    """So many were written off: `quantity` is negative."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id
    quantity: Annotated[int, msgspec.Meta(ge=-1_000_000, le=-1)]
    reason: Reason | None = None


class StockReserved(Event, frozen=True, kw_only=True):
    """Every line of the order is held for it, equal products added up."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    items: LineItems


class StockReservationFailed(Event, frozen=True, kw_only=True):
    """Nothing is held for the order, and nothing will be."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    reason: Reason
    failed_items: FailedItems


class StockReleased(Event, frozen=True, kw_only=True):
    """What was held for the order is for sale again: the compensation, done."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    items: LineItems
    reason: Reason


class StockDeducted(Event, frozen=True, kw_only=True):
    """What was held for the order has left the house."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    items: LineItems
