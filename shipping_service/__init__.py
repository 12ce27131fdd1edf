"""Ships reserved stock, and alone decides whether it is too late to cancel."""

from shared import contracts

OWNS = ("shipments", "shipment_items", "awaited_orders", "awaited_items")
PUBLISHES = contracts.CATALOG.published_by("shipping")
CONSUMES = (
    contracts.OrderCreated,
    contracts.StockReserved,
    contracts.OrderCancellationRequested,
    contracts.DeliveryOverdue,
    contracts.OrderNudged,
)
