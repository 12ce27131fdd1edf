"""Answers every query: hears all events, keeps them and what they amount to, and says nothing itself."""

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
