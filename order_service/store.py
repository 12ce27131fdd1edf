"""The order service's tables together."""

from datetime import timedelta

from order_service.accounts import sessions
from order_service.accounts.store import CUSTOMER_TABLE
from order_service.addresses.store import ADDRESS_BOOK_TABLE
from order_service.carts.store import CART_TABLE
from order_service.domain import OrderState, evolve
from order_service.orders.price_store import PRICE_TABLE
from order_service.orders.store import ORDER_TABLE
from order_service.tables import METADATA
from shared.chassis.engine.rebuild import DerivedTables, derived_tables_of
from shared.chassis.engine.retention import RetentionRule
from shared.chassis.storage.entity_store import EntityStore
from shared.contracts import CATALOG

__all__ = ["METADATA", "RETENTION_RULES", "STORE", "derived_tables"]

RETENTION_RULES = (RetentionRule(sessions.SESSIONS.c.expires_at, timedelta()),)

STORE = EntityStore(
    OrderState,
    orders=ORDER_TABLE,
    prices=PRICE_TABLE,
    carts=CART_TABLE,
    customers=CUSTOMER_TABLE,
    address_books=ADDRESS_BOOK_TABLE,
)


def derived_tables() -> DerivedTables:
    return derived_tables_of("order", STORE, evolve, CATALOG, version=2)
