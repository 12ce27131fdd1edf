"""The inventory service's tables."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
)

from inventory_service.domain import ClosedOrder, InventoryState, Product, Reservation, evolve
from shared.chassis.engine.rebuild import DerivedTables, derived_tables_of
from shared.chassis.storage.database import UtcTime
from shared.chassis.storage.entity_store import EntityStore, EntityTable
from shared.contracts import CATALOG

METADATA = MetaData()

PRODUCTS = Table(
    "products",
    METADATA,
    Column("product_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price", Integer, nullable=False),
    Column("category", Text),
    Column("image_url", Text),
    Column("on_hand", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="stock_is_conserved"),
)

RESERVATIONS = Table(
    "reservations",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

RESERVATION_ITEMS = Table(
    "reservation_items",
    METADATA,
    Column("order_id", Text, ForeignKey(RESERVATIONS.c.order_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, ForeignKey(PRODUCTS.c.product_id), nullable=False),
    Column("quantity", Integer, nullable=False),
)

CLOSED_ORDERS = Table(
    "closed_orders",
    METADATA,
    Column("order_id", Text, primary_key=True),
)

PRODUCT_TABLE = EntityTable(Product, PRODUCTS, "product")
RESERVATION_TABLE = EntityTable(
    Reservation, RESERVATIONS, "order", children={"items": RESERVATION_ITEMS}, follows=True
)

STORE = EntityStore(
    InventoryState,
    products=PRODUCT_TABLE,
    reservations=RESERVATION_TABLE,
    closed_orders=EntityTable(ClosedOrder, CLOSED_ORDERS, "order", is_derived=False),
)


def derived_tables() -> DerivedTables:
    return derived_tables_of("inventory", STORE, evolve, CATALOG)
