"""The carts' table: a row for each line."""

from sqlalchemy import Column, Integer, Table, Text

from order_service.carts.domain import Cart
from order_service.tables import METADATA
from shared.chassis.storage.entity_store import EntityTable

CARTS = Table(
    "carts",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price", Integer, nullable=False, comment="the list price when it was put in"),
)

# A checkout needs the current prices of what is in the cart.
CART_TABLE = EntityTable(Cart, None, "cart", children={"lines": CARTS}, follows=True)
