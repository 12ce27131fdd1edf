"""The rules of stock: it is reserved for all lines of an order or for none, and a reservation is deducted, released or written off once.

For every product, always: 0 ≤ reserved ≤ on hand.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.contracts import (
    FailedItem,
    LineItem,
    OrderCancelled,
    OrderFailed,
    OrderId,
    ProductCreated,
    ProductDeleted,
    ProductId,
    ProductRestored,
    ProductUpdated,
    ShipmentCancelled,
    ShipmentFailed,
    StockAdded,
    StockAdjusted,
    StockDeducted,
    StockReleased,
    StockReservationFailed,
    StockReserved,
    StockWrittenOff,
)
from shared.contracts.shipping import LOST


class ReservationStatus(StrEnum):
    RESERVED = "RESERVED"
    DEDUCTED = "DEDUCTED"
    RELEASED = "RELEASED"
    WRITTEN_OFF = "WRITTEN_OFF"
    REFUSED = "REFUSED"


class Product(Struct, frozen=True, kw_only=True):
    """A product and its stock."""

    product_id: str
    name: str
    description: str
    price: int
    category: str | None = None
    image_url: str | None = None
    on_hand: int = 0
    reserved: int = 0
    is_deleted: bool = False
    created_at: datetime
    updated_at: datetime


class Reservation(Struct, frozen=True, kw_only=True):
    """The stock that is or was reserved for an order; lines with the same product are added up."""

    order_id: str
    status: ReservationStatus
    items: tuple[LineItem, ...]
    created_at: datetime
    updated_at: datetime


class ClosedOrder(Struct, frozen=True, kw_only=True):
    """An order that has ended without delivery: if its OrderCreated arrives late, it gets no stock."""

    order_id: str


class InventoryState(Struct, frozen=True, kw_only=True):
    """The part of the service's state that a transaction touches."""

    products: Mapping[str, Product] = {}
    reservations: Mapping[str, Reservation] = {}
    closed_orders: Mapping[str, ClosedOrder] = {}


class Description(Struct, frozen=True, kw_only=True):
    """A product's data, without its stock."""

    name: str
    description: str
    price: int
    category: str | None = None
    image_url: str | None = None


class CreateProduct(Struct, frozen=True, kw_only=True):
    """Add a product to the catalogue, with its initial stock."""

    product_id: ProductId
    description: Description
    stock: int


class UpdateProduct(Struct, frozen=True, kw_only=True):
    product_id: ProductId
    description: Description


class DeleteProduct(Struct, frozen=True, kw_only=True):
    """Remove the product from sale."""

    product_id: ProductId


class RestoreProduct(Struct, frozen=True, kw_only=True):
    """Put a deleted product on sale again, as it was."""

    product_id: ProductId


class ChangeStock(Struct, frozen=True, kw_only=True):
    """Add to the stock, or write it off if `quantity` is negative."""

    product_id: ProductId
    quantity: int
    reason: str | None = None


class ReserveStock(Struct, frozen=True, kw_only=True):
    """Reserve stock for the order."""

    order_id: OrderId
    items: tuple[LineItem, ...]


class DeductStock(Struct, frozen=True, kw_only=True):
    """Deduct the order's reserved stock: it was shipped."""

    order_id: OrderId


class ReleaseStock(Struct, frozen=True, kw_only=True):
    """Release the order's reserved stock: it was not delivered. What was lost on the way is written off."""

    order_id: OrderId
    reason: str


Administration = CreateProduct | UpdateProduct | DeleteProduct | RestoreProduct | ChangeStock
FollowUp = ReserveStock | DeductStock | ReleaseStock
Command = Administration | FollowUp


def decide(stock: InventoryState, command: Command) -> list[Event]:
    """An order is reserved in full or refused, once; a reservation is settled once.

    Raises Rejected, for the catalogue's commands only: `product-exists`, `unknown-product`, `stock-reserved`,
    `nothing-to-change`.
    """
    match command:
        case ReserveStock():
            return _reserve(stock, command)
        case DeductStock(order_id=order_id):
            reservation = stock.reservations[order_id]  # a delivery implies StockReserved
            if reservation.status is not ReservationStatus.RESERVED:
                return []
            return [StockDeducted(order_id=order_id, items=reservation.items)]
        case ReleaseStock(order_id=order_id, reason=reason):
            existing = stock.reservations.get(order_id)
            if existing is None or existing.status is not ReservationStatus.RESERVED:
                return []
            if reason == LOST:
                return [StockWrittenOff(order_id=order_id, items=existing.items, reason=reason)]
            return [StockReleased(order_id=order_id, items=existing.items, reason=reason)]
        case _:
            return _administer(stock, command)


def _reserve(stock: InventoryState, command: ReserveStock) -> list[Event]:
    order_id = command.order_id
    if order_id in stock.reservations:
        return []
    if order_id in stock.closed_orders:
        return [StockReservationFailed(order_id=order_id, reason="ORDER_CLOSED", failed_items=())]
    lines = merged(command.items)
    short = tuple(
        _shortage(stock, line) for line in lines if available(stock, line) < line.quantity
    )
    if short:
        return [
            StockReservationFailed(
                order_id=order_id, reason="INSUFFICIENT_STOCK", failed_items=short
            )
        ]
    return [StockReserved(order_id=order_id, items=lines)]


def merged(items: Iterable[LineItem]) -> tuple[LineItem, ...]:
    """Lines of the same product added up, in the order of their first mention."""
    quantities: Counter[str] = Counter()
    for line in items:
        quantities[line.product_id] += line.quantity
    return tuple(
        LineItem(product_id=product_id, quantity=quantity)
        for product_id, quantity in quantities.items()
    )


def available(stock: InventoryState, line: LineItem) -> int:
    """The quantity of the line's product that can be reserved; 0 for an unknown or deleted product."""
    product = stock.products.get(line.product_id)
    if product is None or product.is_deleted:
        return 0
    return product.on_hand - product.reserved


def _shortage(stock: InventoryState, line: LineItem) -> FailedItem:
    return FailedItem(
        product_id=line.product_id,
        requested_quantity=line.quantity,
        available_quantity=available(stock, line),
    )


def _administer(stock: InventoryState, command: Administration) -> list[Event]:
    product_id = command.product_id
    product = stock.products.get(product_id)
    if isinstance(command, CreateProduct):
        return _create(product, command)
    if isinstance(command, RestoreProduct) and product is not None:
        restored = ProductRestored(product_id=product_id, **_described(product))
        return [restored] if product.is_deleted else []
    if product is None or product.is_deleted or isinstance(command, RestoreProduct):
        raise Rejected("unknown-product", f"there is no product {product_id}")
    match command:
        case UpdateProduct(description=described):
            return [ProductUpdated(product_id=product_id, **_described(described))]
        case DeleteProduct():
            return [ProductDeleted(product_id=product_id)]
        case ChangeStock():
            return [_change_stock(product, command)]


def _create(product: Product | None, command: CreateProduct) -> list[Event]:
    product_id = command.product_id
    if product is not None:
        raise Rejected("product-exists", f"there is a product {product_id} already")
    created = ProductCreated(product_id=product_id, **_described(command.description))
    if command.stock == 0:
        return [created]
    return [created, StockAdded(product_id=product_id, quantity=command.stock, reason="INITIAL")]


def _change_stock(product: Product, command: ChangeStock) -> Event:
    quantity, reason = command.quantity, command.reason
    if quantity == 0:
        raise Rejected("nothing-to-change", "a quantity of 0 changes nothing")
    if quantity > 0:
        return StockAdded(product_id=product.product_id, quantity=quantity, reason=reason)
    if product.on_hand + quantity < product.reserved:
        raise Rejected(
            "stock-reserved",
            f"{product.reserved} of {product.on_hand} are reserved for orders",
            onHand=product.on_hand,
            reserved=product.reserved,
        )
    return StockAdjusted(product_id=product.product_id, quantity=quantity, reason=reason)


def evolve(stock: InventoryState, recorded: RecordedEvent) -> InventoryState:
    """The state after an event of inventory, or after an order or its shipment ended without delivery."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case StockReserved(order_id=order_id, items=items):
            stock = _counted(stock, items, reserved=1)
            return _settled(stock, order_id, ReservationStatus.RESERVED, at, items)
        case StockReservationFailed(order_id=order_id):
            return _settled(stock, order_id, ReservationStatus.REFUSED, at)
        case StockReleased(order_id=order_id, items=items):
            stock = _counted(stock, items, reserved=-1)
            return _settled(stock, order_id, ReservationStatus.RELEASED, at)
        case StockWrittenOff(order_id=order_id, items=items):
            stock = _counted(stock, items, reserved=-1, on_hand=-1)
            return _settled(stock, order_id, ReservationStatus.WRITTEN_OFF, at)
        case StockDeducted(order_id=order_id, items=items):
            stock = _counted(stock, items, reserved=-1, on_hand=-1)
            return _settled(stock, order_id, ReservationStatus.DEDUCTED, at)
        case (
            ShipmentFailed(order_id=order_id)
            | ShipmentCancelled(order_id=order_id)
            | OrderFailed(order_id=order_id)
            | OrderCancelled(order_id=order_id)
        ):
            closed = ClosedOrder(order_id=order_id)
            return replace(stock, closed_orders={**stock.closed_orders, order_id: closed})
        case ProductCreated():
            created = Product(
                product_id=event.product_id, **_described(event), created_at=at, updated_at=at
            )
            return _with_product(stock, created)
        case (
            ProductUpdated() | ProductDeleted() | ProductRestored() | StockAdded() | StockAdjusted()
        ):
            changed = _changed(stock.products[event.product_id], event)
            return _with_product(stock, replace(changed, updated_at=at))
        case _:
            return stock


def _changed(
    product: Product,
    event: ProductUpdated | ProductDeleted | ProductRestored | StockAdded | StockAdjusted,
) -> Product:
    match event:
        case ProductUpdated():
            return replace(product, **_described(event))
        case ProductDeleted():
            return replace(product, is_deleted=True)
        case ProductRestored():
            return replace(product, is_deleted=False)
        case StockAdded(quantity=quantity) | StockAdjusted(quantity=quantity):
            return replace(product, on_hand=product.on_hand + quantity)


def _described(source: Description | Product | ProductCreated | ProductUpdated) -> dict[str, Any]:
    return {name: getattr(source, name) for name in Description.__struct_fields__}


def _counted(
    stock: InventoryState, items: Iterable[LineItem], *, reserved: int, on_hand: int = 0
) -> InventoryState:
    """Change the counts of these products by multiples of each line's quantity."""
    products = dict(stock.products)
    for line in items:
        product = products[line.product_id]
        products[line.product_id] = replace(
            product,
            reserved=product.reserved + reserved * line.quantity,
            on_hand=product.on_hand + on_hand * line.quantity,
        )
    return replace(stock, products=products)


def _settled(
    stock: InventoryState,
    order_id: str,
    status: ReservationStatus,
    at: datetime,
    items: tuple[LineItem, ...] = (),
) -> InventoryState:
    before = stock.reservations.get(order_id)
    if before:
        reservation = replace(before, status=status, updated_at=at)
    else:
        reservation = Reservation(
            order_id=order_id, status=status, items=items, created_at=at, updated_at=at
        )
    return replace(stock, reservations={**stock.reservations, order_id: reservation})


def _with_product(stock: InventoryState, product: Product) -> InventoryState:
    return replace(stock, products={**stock.products, product.product_id: product})
