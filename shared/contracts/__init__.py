"""Every event of the shop, by its one emitter; how an event is named, carried and upgraded."""

from shared.contracts.anyone import EventDeadLettered, EventRedriven
from shared.contracts.customer import (
    CartCleared,
    CustomerRegistered,
    CustomerUpdated,
    ItemAddedToCart,
    ItemRemovedFromCart,
    Role,
)
from shared.contracts.event import Event, Id, LineItem, Money, Quantity, entity_id
from shared.contracts.identity import SigningKeyPublished, SigningKeyRevoked
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
IDENTITY = (SigningKeyPublished, SigningKeyRevoked)
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
SYSTEM = (EventDeadLettered, EventRedriven)

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
"""Who alone may say it; what `SYSTEM` may say is not listed."""

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
    "NotificationResendRequested",
    "NotificationSent",
    "NotificationSkipped",
    "OrderCancellationRequested",
    "OrderCancelled",
    "OrderCompleted",
    "OrderConfirmed",
    "OrderCreated",
    "OrderFailed",
    "OrderItem",
    "OrderResumed",
    "ProductCreated",
    "ProductDeleted",
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
    "entity_id",
]
