"""Tells customers by mail how their orders fare, and keeps a log of what it told."""

from shared import contracts

OWNS = ("notifications", "mails", "known_orders", "known_customers")
PUBLISHES = contracts.CATALOG.published_by("notifier")
CONSUMES = (
    contracts.OrderCreated,
    contracts.ShipmentInitiated,
    contracts.OrderCompleted,
    contracts.OrderCancelled,
    contracts.OrderFailed,
    contracts.CustomerRegistered,
    contracts.CustomerUpdated,
)
