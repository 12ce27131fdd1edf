"""The customers' table."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Column, Connection, Table, Text, select

from order_service.accounts.domain import Customer, Customers
from order_service.tables import METADATA
from shared.chassis.storage.database import Rows, UtcTime, changed, read_rows, select_in, upsert

CUSTOMERS = Table(
    "customers",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text),
    Column("locale", Text),
    Column("role", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)


_ADMIN = select(CUSTOMERS.c.user_id).where(CUSTOMERS.c.role == "admin").limit(1)


def load(
    connection: Connection, user_ids: Sequence[str], emails: Sequence[str] = ()
) -> dict[str, Customer]:
    """These customers, by id, and whoever has one of these addresses."""
    return _assemble(
        [
            *select_in(connection, CUSTOMERS, "user_id", user_ids),
            *select_in(connection, CUSTOMERS, "email", emails),
        ]
    )


def has_admin(connection: Connection) -> bool:
    """Whether there is anybody who may do everything."""
    return connection.execute(_ADMIN).first() is not None


def read_all(connection: Connection) -> dict[str, Customer]:
    """All of them."""
    return _assemble(read_rows(connection, CUSTOMERS))


def save(connection: Connection, before: Customers, after: Customers) -> None:
    """Write what has changed."""
    customers = changed(before, after)
    upsert(connection, CUSTOMERS, [msgspec.structs.asdict(customer) for customer in customers])


def _assemble(rows: Rows) -> dict[str, Customer]:
    return {row["user_id"]: Customer(**row) for row in rows}
