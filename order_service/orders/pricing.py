"""Our own price list, kept from what inventory says: a client's price is never trusted."""

from collections.abc import Mapping

from msgspec import Struct

from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.contracts import OrderItem, ProductCreated, ProductDeleted, ProductId, ProductUpdated


class ListPrice(Struct, frozen=True, kw_only=True):
    """What a product costs, as inventory last said at `position` of its log."""

    product_id: str
    name: str
    price: int
    is_deleted: bool
    position: int


Prices = Mapping[str, ListPrice]
"""By product id."""


class WantedItem(Struct, frozen=True, kw_only=True):
    """A line as the customer asks for it; `price` is what he believes it costs."""

    product_id: ProductId
    quantity: int
    price: int | None = None


def priced(prices: Prices, wanted: WantedItem) -> OrderItem:
    """The line at its list price. Raises Rejected: `product-not-for-sale`, `price-changed`."""
    listed = prices.get(wanted.product_id)
    if listed is None or listed.is_deleted:
        raise Rejected(
            "product-not-for-sale",
            f"there is no product {wanted.product_id}",
            productId=wanted.product_id,
        )
    if wanted.price is not None and wanted.price != listed.price:
        raise Rejected(
            "price-changed",
            f"{wanted.product_id} costs {listed.price}, not {wanted.price}",
            productId=wanted.product_id,
            price=listed.price,
        )
    return OrderItem(
        product_id=wanted.product_id,
        name=listed.name,
        quantity=wanted.quantity,
        price=listed.price,
    )


def evolve(prices: Prices, recorded: RecordedEvent) -> Prices:
    """The list after a word of inventory; an older word that comes late changes nothing."""
    product = recorded.event
    if not isinstance(product, ProductCreated | ProductUpdated | ProductDeleted):
        return prices
    known = prices.get(product.product_id)
    if known and known.position >= recorded.position:
        return prices
    if isinstance(product, ProductDeleted):
        listed = ListPrice(
            product_id=product.product_id,
            name=known.name if known else product.product_id,
            price=known.price if known else 0,
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
