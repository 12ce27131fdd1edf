"""Who this database is: an id made once, so that a new database is told from an old one."""

from sqlalchemy import Column, Connection, Table, Text, select

from shared.clock import new_id
from shared.database import CHASSIS, insert_missing

ABOUT = Table(
    "about",
    CHASSIS,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)


def database_id(connection: Connection) -> str:
    """The id of this database, made at the first call."""
    insert_missing(connection, ABOUT, [{"name": "database_id", "value": new_id()}])
    query = select(ABOUT.c.value).where(ABOUT.c.name == "database_id")
    identity: str = connection.execute(query).scalar_one()
    return identity
