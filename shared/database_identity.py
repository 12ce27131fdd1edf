"""Whose database this is: it belongs to one service, in one format, and to one process at a time."""

from filelock import FileLock, Timeout
from sqlalchemy import URL, Column, Connection, Integer, MetaData, Table, Text, inspect, select

from shared.clock import new_id
from shared.database import CHASSIS, Database, create_tables, insert_all
from shared.fatal import FatalError

FORMAT = 1
"""Of all tables of a service. Raised with every change that an existing database would not survive."""

DATABASE_IDENTITY = Table(
    "database_identity",
    CHASSIS,
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


async def claim(database: Database, service: str, tables: MetaData) -> str:
    """Create what is missing in the service's database and return the database's id.

    Raises FatalError for a database of another service or another format.
    """

    def identify(connection: Connection) -> str:
        if not inspect(connection).get_table_names():
            DATABASE_IDENTITY.create(connection)
            made = {"database_id": new_id(), "service": service, "format": FORMAT}
            insert_all(connection, DATABASE_IDENTITY, [made])
        return _read(connection, service, database.url)

    database_id = await database.run(identify)
    await create_tables(database, CHASSIS, tables)
    return database_id


def _read(connection: Connection, service: str, url: URL) -> str:
    if not inspect(connection).has_table(DATABASE_IDENTITY.name):
        raise FatalError(
            f"{url.database} was not made by this release of Quadrille, which cannot convert "
            "it: move it away, or run the release that made it"
        )
    found = connection.execute(select(DATABASE_IDENTITY)).one()
    if found.service != service:
        raise FatalError(
            f"{url.database} is the database of {found.service}, not of {service}: "
            "give each service a database of its own"
        )
    if found.format != FORMAT:
        age = "a newer" if found.format > FORMAT else "an older"
        raise FatalError(
            f"{url.database} was made by {age} release (format {found.format}, this release "
            f"uses {FORMAT}): move it away, or run the release that made it"
        )
    identity: str = found.database_id
    return identity

