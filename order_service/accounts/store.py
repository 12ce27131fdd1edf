"""The customers' table."""

from sqlalchemy import Boolean, Column, Connection, Integer, Table, Text, select

from order_service.accounts.domain import Customer
from order_service.tables import METADATA
from shared.chassis.storage.database import Json, UtcTime, read_rows, select_in
from shared.chassis.storage.entity_store import EntityTable

CUSTOMERS = Table(
    "customers",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("email_verified", Boolean, nullable=False),
    Column("name", Text),
    Column("locale", Text),
    Column("role", Text, nullable=False),
    Column("token_version", Integer, nullable=False),
    Column("links", Json, nullable=False, comment="requested and not used yet"),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

CUSTOMER_TABLE = EntityTable(Customer, CUSTOMERS, "customer", also_by={"email": "email"})

_STAFF = (
    select(CUSTOMERS)
    .where(CUSTOMERS.c.role.in_(("operator", "admin")))
    .order_by(CUSTOMERS.c.role, CUSTOMERS.c.email)
)
_ADMIN = select(CUSTOMERS.c.user_id).where(CUSTOMERS.c.role == "admin").limit(1)


def find(connection: Connection, user_id: str) -> Customer | None:
    return CUSTOMER_TABLE.read(connection, [user_id]).get(user_id)


def find_by_email(connection: Connection, email: str) -> Customer | None:
    """The customer of this canonical address."""
    rows = select_in(connection, CUSTOMERS, "email", [email])
    return next(iter(CUSTOMER_TABLE.assemble(connection, rows).values()), None)


def staff(connection: Connection) -> list[Customer]:
    """Admins, then operators, each by address."""
    rows = read_rows(connection, CUSTOMERS, _STAFF)
    return list(CUSTOMER_TABLE.assemble(connection, rows).values())


def has_admin(connection: Connection) -> bool:
    """Whether an admin exists."""
    return connection.execute(_ADMIN).first() is not None
