"""The shipping service's tables."""

from pathlib import Path

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
)

from shared.chassis.engine.rebuild import DerivedTables, derived_tables_of
from shared.chassis.storage.database import Json, UtcTime
from shared.chassis.storage.entity_store import EntityStore, EntityTable
from shared.contracts import CATALOG
from shipping_service.domain import AwaitedOrder, Shipment, ShippingState, evolve

METADATA = MetaData()
VERSIONS = Path(__file__).with_name("versions")

SHIPMENTS = Table(
    "shipments",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("shipment_id", Text, unique=True),
    Column("status", Text, nullable=False),
    Column("carrier", Text),
    Column("shipping_address", Json),
    Column("reference", Text),
    Column("tracking_number", Text),
    Column("reason", Text),
    Column("note", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

SHIPMENT_ITEMS = Table(
    "shipment_items",
    METADATA,
    Column("order_id", Text, ForeignKey(SHIPMENTS.c.order_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
)

AWAITED_ORDERS = Table(
    "awaited_orders",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("is_created", Boolean, nullable=False),
    Column("shipping_address", Json),
)

AWAITED_ITEMS = Table(
    "awaited_items",
    METADATA,
    Column("order_id", Text, ForeignKey(AWAITED_ORDERS.c.order_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
)

SHIPMENT_TABLE = EntityTable(Shipment, SHIPMENTS, "order", children={"items": SHIPMENT_ITEMS})
AWAITED_TABLE = EntityTable(
    AwaitedOrder,
    AWAITED_ORDERS,
    "order",
    children={"items": AWAITED_ITEMS},
    is_derived=False,
)

STORE = EntityStore(ShippingState, shipments=SHIPMENT_TABLE, awaited=AWAITED_TABLE)


def derived_tables() -> DerivedTables:
    return derived_tables_of("shipping", STORE, evolve, CATALOG, version=2)
