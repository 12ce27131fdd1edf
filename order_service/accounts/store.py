"""The customers' table."""

from sqlalchemy import Column, Connection, Integer, Table, Text, select

from order_service.accounts.domain import Customer
from order_service.tables import METADATA
from shared.chassis.storage.database import UtcTime, select_in
from shared.chassis.storage.entity_store import EntityTable

CUSTOMERS = Table(
    "customers",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text),
    Column("locale", Text),
    Column("role", Text, nullable=False),
    Column("token_version", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

CUSTOMER_TABLE = EntityTable(Customer, CUSTOMERS, "customer", also_by={"email": "email"})

_ADMIN = select(CUSTOMERS.c.user_id).where(CUSTOMERS.c.role == "admin").limit(1)


def find(connection: Connection, user_id: str) -> Customer | None:
    return CUSTOMER_TABLE.read(connection, [user_id]).get(user_id)


def find_by_email(connection: Connection, email: str) -> Customer | None:
    """The customer of this canonical address."""
    rows = select_in(connection, CUSTOMERS, "email", [email])
    return next(iter(CUSTOMER_TABLE.assemble(connection, rows).values()), None)


def has_admin(connection: Connection) -> bool:
    """Whether an admin exists."""
    return connection.execute(_ADMIN).first() is not None
