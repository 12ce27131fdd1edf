"""What the inventory service says."""

from typing import Annotated, ClassVar

import msgspec

from shared.contracts.event import Event, Id, Line, Money, Quantity, Total


class FailedItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A product of which fewer were available than asked for."""

    product_id: Id
    requested_quantity: Total
    available_quantity: int


class ProductCreated(Event, frozen=True, kw_only=True):
    """A product entered the catalogue. Its first stock follows as `StockAdded`."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id
    name: str
    description: str
    price: Money
    category: str | None = None
    image_url: str | None = None


class ProductUpdated(Event, frozen=True, kw_only=True):
    """The product is now described so; every field is the new one."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id
    name: str
    description: str
    price: Money
    category: str | None = None
    image_url: str | None = None


class ProductDeleted(Event, frozen=True, kw_only=True):
    """The product can not be ordered any more; old orders still show it."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id


class StockAdded(Event, frozen=True, kw_only=True):
    """So many came in."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id
    quantity: Quantity
    reason: str | None = None


class StockAdjusted(Event, frozen=True, kw_only=True):
    """So many were written off: `quantity` is negative."""

    KEY: ClassVar[str] = "product_id"

    product_id: Id
    quantity: Annotated[int, msgspec.Meta(le=-1)]
    reason: str | None = None


class StockReserved(Event, frozen=True, kw_only=True):
    """Every line of the order is held for it, equal products added up."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    items: tuple[Line, ...]


class StockReservationFailed(Event, frozen=True, kw_only=True):
    """Nothing is held for the order, and nothing will be."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    reason: str
    failed_items: tuple[FailedItem, ...]


class StockReleased(Event, frozen=True, kw_only=True):
    """What was held for the order is for sale again: the compensation, done."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    items: tuple[Line, ...]
    reason: str


class StockDeducted(Event, frozen=True, kw_only=True):
    """What was held for the order has left the house."""

    KEY: ClassVar[str] = "order_id"

    order_id: Id
    items: tuple[Line, ...]
