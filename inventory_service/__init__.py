"""Keeps the catalogue and its stock, and reserves stock for all lines of an order or for none."""

from shared import contracts

OWNS = ("products", "reservations", "reservation_items", "closed_orders")
PUBLISHES = contracts.CATALOG.published_by("inventory")
CONSUMES = (
    contracts.OrderCreated,
    contracts.ShipmentCompleted,
    contracts.ShipmentFailed,
    contracts.ShipmentCancelled,
    contracts.OrderCompleted,
    contracts.OrderFailed,
    contracts.OrderCancelled,
    contracts.OrderNudged,
)
