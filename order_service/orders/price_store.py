"""The price list's table."""

from sqlalchemy import Boolean, Column, Integer, Table, Text

from order_service.orders.pricing import ListPrice
from order_service.tables import METADATA
from shared.chassis.storage.entity_store import EntityTable

LIST_PRICES = Table(
    "list_prices",
    METADATA,
    Column("product_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("price", Integer, nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    Column("position", Integer, nullable=False, comment="of inventory's log"),
)

PRICE_TABLE = EntityTable(ListPrice, LIST_PRICES, "product", is_derived=False)
