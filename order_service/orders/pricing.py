"""The order service's own price list, from inventory's events: a client's price is never trusted."""

from collections.abc import Mapping

from msgspec import Struct

from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.contracts import (
    OrderItem,
    ProductCreated,
    ProductDeleted,
    ProductId,
    ProductRestored,
    ProductUpdated,
)


class ListPrice(Struct, frozen=True, kw_only=True):
    """A product's price, from the event at `position` of inventory's log."""

    product_id: str
    name: str
    price: int
    is_deleted: bool
    position: int


Prices = Mapping[str, ListPrice]
"""By product id."""


class RequestedItem(Struct, frozen=True, kw_only=True):
    """A line as the customer orders it; `price` is the price that the customer saw."""

    product_id: ProductId
    quantity: int
    price: int | None = None


def priced(prices: Prices, item: RequestedItem) -> OrderItem:
    """The line at its list price. Raises Rejected: `product-not-for-sale`, `price-changed`."""
    listed = prices.get(item.product_id)
    if listed is None or listed.is_deleted:
        raise Rejected(
            "product-not-for-sale",
            f"there is no product {item.product_id}",
            productId=item.product_id,
        )
    if item.price is not None and item.price != listed.price:
        raise Rejected(
            "price-changed",
            f"{item.product_id} costs {listed.price}, not {item.price}",
            productId=item.product_id,
            price=listed.price,
        )
    return OrderItem(
        product_id=item.product_id,
        name=listed.name,
        quantity=item.quantity,
        price=listed.price,
    )


def evolve(prices: Prices, recorded: RecordedEvent) -> Prices:
    """The list after an event of inventory; an older event that arrives late changes nothing."""
    product = recorded.event
    if not isinstance(product, ProductCreated | ProductUpdated | ProductDeleted | ProductRestored):
        return prices
    previous = prices.get(product.product_id)
    if previous and previous.position >= recorded.position:
        return prices
    if isinstance(product, ProductDeleted):
        listed = ListPrice(
            product_id=product.product_id,
            name=previous.name if previous else product.product_id,
            price=previous.price if previous else 0,
            is_deleted=True,
            position=recorded.position,
        )
    else:
        listed = ListPrice(
            product_id=product.product_id,
            name=product.name,
            price=product.price,
            is_deleted=False,
            position=recorded.position,
        )
    return {**prices, listed.product_id: listed}
