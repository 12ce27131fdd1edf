"""Whose database this is: it belongs to one service, in one format, and to one process at a time."""

from filelock import FileLock, Timeout
from sqlalchemy import URL, Column, Connection, Integer, Table, Text, inspect, select

from shared.chassis.errors import FatalError
from shared.chassis.messages.clock import new_id
from shared.chassis.storage.database import CHASSIS_METADATA, insert_all

FORMAT = 1
"""Of all tables of a service. Raised with every change that an existing database would not survive."""

DATABASE_IDENTITY = Table(
    "database_identity",
    CHASSIS_METADATA,
    Column("database_id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("format", Integer, nullable=False),
)


def lock(url: URL) -> FileLock:
    """Hold the database file for this process until the lock is released. Raises FatalError.

    A second process would do the tasks of the first once more: each mail would be sent twice.
    """
    held = FileLock(f"{url.database}.lock")
    try:
        held.acquire(blocking=False)
    except Timeout as error:
        raise FatalError(
            f"another process uses {url.database}: stop that one, or set QUADRILLE_DATA_DIR "
            "to another directory"
        ) from error
    return held


def claim(connection: Connection, service: str) -> str:
    """The id of this database, which an empty one is given here.

    Raises FatalError for a database of another service or another format.
    """
    file = connection.engine.url.database
    tables = inspect(connection).get_table_names()
    if not tables:
        DATABASE_IDENTITY.create(connection)
        made = {"database_id": new_id(), "service": service, "format": FORMAT}
        insert_all(connection, DATABASE_IDENTITY, [made])
    elif DATABASE_IDENTITY.name not in tables:
        raise FatalError(
            f"{file} was not made by this release of Quadrille, which cannot convert it: "
            "move it away, or run the release that made it"
        )
    identity = connection.execute(select(DATABASE_IDENTITY)).one()
    if identity.service != service:
        raise FatalError(
            f"{file} is the database of {identity.service}, not of {service}: "
            "give each service a database of its own"
        )
    if identity.format != FORMAT:
        age = "a newer" if identity.format > FORMAT else "an older"
        raise FatalError(
            f"{file} was made by {age} release (format {identity.format}, this release uses "
            f"{FORMAT}): move it away, or run the release that made it"
        )
    database_id: str = identity.database_id
    return database_id
