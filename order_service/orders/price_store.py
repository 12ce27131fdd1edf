"""The price list's table."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Boolean, Column, Connection, Integer, Table, Text

from order_service.orders.pricing import ListPrice, Prices
from order_service.tables import METADATA
from shared.chassis.storage.database import changed, read_rows, select_in, upsert

LIST_PRICES = Table(
    "list_prices",
    METADATA,
    Column("product_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("price", Integer, nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    Column("position", Integer, nullable=False, comment="of inventory's log"),
)


def load(connection: Connection, product_ids: Sequence[str]) -> dict[str, ListPrice]:
    """What is known of these products."""
    rows = select_in(connection, LIST_PRICES, "product_id", product_ids)
    return {row["product_id"]: ListPrice(**row) for row in rows}


def read_all(connection: Connection) -> dict[str, ListPrice]:
    """The whole list."""
    return {row["product_id"]: ListPrice(**row) for row in read_rows(connection, LIST_PRICES)}


def save(connection: Connection, before: Prices, after: Prices) -> None:
    """Write what has changed."""
    prices = changed(before, after)
    upsert(connection, LIST_PRICES, [msgspec.structs.asdict(price) for price in prices])
