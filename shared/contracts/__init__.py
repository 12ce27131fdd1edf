"""Every event of the shop, and the service that publishes it."""

from shared.chassis.messages.event import Event, Id
from shared.chassis.messages.identity_events import (
    IDENTITY,
    SigningKeyPublished,
    SigningKeyRevoked,
)
from shared.chassis.messages.system_events import SYSTEM, EventDeadLettered, EventRedriven
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
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderItem,
    OrderResumed,
)
from shared.contracts.shipping import (
    ShipmentCancellationRefused,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
)
from shared.contracts.types import (
    CustomerId,
    LineItem,
    Money,
    NotificationId,
    OrderId,
    ProductId,
    Quantity,
)

ORDER = (
    OrderCreated,
    OrderConfirmed,
    OrderCompleted,
    OrderCancelled,
    OrderFailed,
    OrderCancellationRequested,
    OrderResumed,
)
CUSTOMER = (
    CustomerRegistered,
    CustomerUpdated,
    ItemAddedToCart,
    ItemRemovedFromCart,
    CartCleared,
)
INVENTORY = (
    ProductCreated,
    ProductUpdated,
    ProductDeleted,
    StockAdded,
    StockAdjusted,
    StockReserved,
    StockReservationFailed,
    StockReleased,
    StockDeducted,
)
SHIPPING = (
    ShipmentInitiated,
    ShipmentDispatched,
    ShipmentCompleted,
    ShipmentFailed,
    ShipmentCancelled,
    ShipmentCancellationRefused,
)
NOTIFIER = (
    NotificationSent,
    NotificationFailed,
    NotificationSkipped,
    NotificationResendRequested,
)

EVENT_TYPES: dict[str, type[Event]] = {
    event_type.__name__: event_type
    for event_type in (*ORDER, *CUSTOMER, *IDENTITY, *INVENTORY, *SHIPPING, *NOTIFIER, *SYSTEM)
}

PUBLISHERS: dict[type[Event], str] = {
    event_type: source
    for source, event_types in (
        ("order", ORDER),
        ("order", CUSTOMER),
        ("order", IDENTITY),
        ("inventory", INVENTORY),
        ("shipping", SHIPPING),
        ("notifier", NOTIFIER),
    )
    for event_type in event_types
}
"""The only service that may publish it; `SYSTEM` is missing, which every service may publish."""

SOURCES = frozenset(PUBLISHERS.values())
"""Every service that has an event log."""

__all__ = [
    "CUSTOMER",
    "EVENT_TYPES",
    "IDENTITY",
    "INVENTORY",
    "NOTIFIER",
    "ORDER",
    "PUBLISHERS",
    "SHIPPING",
    "SOURCES",
    "SYSTEM",
    "CartCleared",
    "CustomerId",
    "CustomerRegistered",
    "CustomerUpdated",
    "Event",
    "EventDeadLettered",
    "EventRedriven",
    "FailedItem",
    "Id",
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
    "SigningKeyPublished",
    "SigningKeyRevoked",
    "StockAdded",
    "StockAdjusted",
    "StockDeducted",
    "StockReleased",
    "StockReservationFailed",
    "StockReserved",
]
