"""Accepts orders at its own list prices, and brings each to exactly one final status."""

from shared import contracts
from shared.chassis.messages.identity_events import LinkKeyPublished

OWNS = (
    "orders",
    "order_items",
    "list_prices",
    "carts",
    "customers",
    "address_books",
    "credentials",
    "sessions",
    "private_keys",
)
PUBLISHES = contracts.CATALOG.published_by("order")
CONSUMES = (
    contracts.ProductCreated,
    contracts.ProductUpdated,
    contracts.ProductDeleted,
    contracts.ProductRestored,
    contracts.StockReserved,
    contracts.StockReservationFailed,
    contracts.ShipmentDispatched,
    contracts.ShipmentCompleted,
    contracts.ShipmentFailed,
    contracts.ShipmentCancelled,
    contracts.ShipmentCancellationRefused,
    LinkKeyPublished,
)
