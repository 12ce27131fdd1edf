"""Sends mails to customers about their orders and accounts, and keeps a log of what became of each mail."""

from shared import contracts

OWNS = ("notifications", "mails", "known_orders", "known_customers", "link_private_keys")
PUBLISHES = contracts.CATALOG.published_by("notifier")
CONSUMES = (
    contracts.OrderCreated,
    contracts.ShipmentDispatched,
    contracts.OrderCompleted,
    contracts.OrderCancelled,
    contracts.OrderFailed,
    contracts.CustomerRegistered,
    contracts.CustomerUpdated,
    contracts.OrderNudged,
    contracts.PasswordResetRequested,
    contracts.EmailVerificationRequested,
    contracts.CustomerEmailChanged,
    contracts.CustomerPasswordChanged,
)
