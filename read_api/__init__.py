"""Answers queries from read models of all services' events; it publishes none itself."""

from shared import contracts

OWNS = (
    "orders",
    "order_items",
    "customers",
    "reservations",
    "products",
    "shipments",
    "notifications",
    "events",
    "positions",
    "passed_over",
    "held_events",
)
PUBLISHES = ()
CONSUMES = tuple(contracts.CATALOG.event_types.values())
