"""Every event of the shop, and the service that publishes it."""

from pathlib import Path

from shared.chassis.messages.catalog import Catalog
from shared.contracts import customer, inventory, notifier, order, shipping
from shared.contracts.customer import (
    CartCleared,
    CustomerRegistered,
    CustomerUpdated,
    ItemAddedToCart,
    ItemRemovedFromCart,
    Role,
)
from shared.contracts.inventory import (
    FailedItem,
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
from shared.contracts.notifier import (
    NotificationFailed,
    NotificationResendRequested,
    NotificationSent,
    NotificationSkipped,
)
from shared.contracts.order import (
    Cancellation,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderItem,
    OrderNudged,
    OrderResumed,
)
from shared.contracts.shipping import (
    BookingDelayed,
    ShipmentCancellationRefused,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
)
from shared.contracts.types import (
    Address,
    CustomerId,
    LineItem,
    Money,
    NotificationId,
    OrderId,
    ProductId,
    Quantity,
)
from shared.contracts.upcasters import UPCASTERS

CATALOG = Catalog.of(
    order,
    customer,
    inventory,
    shipping,
    notifier,
    key_issuer="order",
    link_issuer="notifier",
    upcasters=UPCASTERS,
    documents=Path(__file__).with_name("published"),
)

__all__ = [
    "CATALOG",
    "Address",
    "BookingDelayed",
    "Cancellation",
    "CartCleared",
    "CustomerId",
    "CustomerRegistered",
    "CustomerUpdated",
    "FailedItem",
    "ItemAddedToCart",
    "ItemRemovedFromCart",
    "LineItem",
    "Money",
    "NotificationFailed",
    "NotificationId",
    "NotificationResendRequested",
    "NotificationSent",
    "NotificationSkipped",
    "OrderCancellationRequested",
    "OrderCancelled",
    "OrderCompleted",
    "OrderConfirmed",
    "OrderCreated",
    "OrderFailed",
    "OrderId",
    "OrderItem",
    "OrderNudged",
    "OrderResumed",
    "ProductCreated",
    "ProductDeleted",
    "ProductId",
    "ProductUpdated",
    "Quantity",
    "Role",
    "ShipmentCancellationRefused",
    "ShipmentCancelled",
    "ShipmentCompleted",
    "ShipmentDispatched",
    "ShipmentFailed",
    "ShipmentInitiated",
    "StockAdded",
    "StockAdjusted",
    "StockDeducted",
    "StockReleased",
    "StockReservationFailed",
    "StockReserved",
]
