"""Whose database a file is: it belongs to one service, has one format, and is used by one process at a time."""

from typing import NamedTuple

from filelock import FileLock, Timeout
from sqlalchemy import URL, Column, Connection, Integer, Table, Text, inspect, select

from shared.chassis.errors import FatalError
from shared.chassis.messages.clock import new_id
from shared.chassis.storage.database import CHASSIS_METADATA, insert_all

FIRST_FORMAT = 1
"""The oldest format that the migrations convert."""
FORMAT = 4
"""Of the tables that are not derived; raised with every migration of the chassis, so that older releases refuse it."""

RESTORED = "restored-"
"""How the id of a restored copy starts until its log is known to be complete; no service starts with it."""

DATABASE_IDENTITY = Table(
    "database_identity",
    CHASSIS_METADATA,
    Column("database_id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("format", Integer, nullable=False),
)


class Identity(NamedTuple):
    """The one row of `database_identity`."""

    database_id: str
    service: str
    format: int


def lock(url: URL) -> FileLock:
    """Lock the database file for this process until the lock is released. Raises FatalError.

    A second process would execute the tasks of the first once more: each mail would be sent twice.
    """
    file_lock = FileLock(f"{url.database}.lock")
    try:
        file_lock.acquire(blocking=False)
    except Timeout as error:
        raise FatalError(
            f"another process uses {url.database}: stop that one, or set QUADRILLE_DATA_DIR "
            "to another directory"
        ) from error
    return file_lock


def is_new(connection: Connection) -> bool:
    """Whether the database has no tables, or only the identity that an interrupted first start left."""
    return set(inspect(connection).get_table_names()) <= {DATABASE_IDENTITY.name}


def claim(connection: Connection, service: str) -> Identity:
    """The identity of this database, which an empty one gets here.

    Raises FatalError for a database of another service, and for a format that this release cannot convert.
    """
    file = connection.engine.url.database
    tables = inspect(connection).get_table_names()
    if not tables:
        DATABASE_IDENTITY.create(connection)
        identity = Identity(new_id(), service, FORMAT)
        insert_all(connection, DATABASE_IDENTITY, [identity._asdict()])
        return identity
    if DATABASE_IDENTITY.name not in tables:
        raise FatalError(
            f"{file} was not made by this release of Quadrille, which cannot convert it: "
            "move it away, or run the release that made it"
        )
    identity = Identity(*connection.execute(select(DATABASE_IDENTITY)).one())
    if identity.service != service:
        raise FatalError(
            f"{file} is the database of {identity.service}, not of {service}: "
            "give each service a database of its own"
        )
    if not FIRST_FORMAT <= identity.format <= FORMAT:
        age = "a newer" if identity.format > FORMAT else "an older"
        raise FatalError(
            f"{file} was made by {age} release (format {identity.format}, this release uses "
            f"{FORMAT}): move it away, or run the release that made it"
        )
    return identity


def renew(connection: Connection, *, is_restored: bool = False) -> str:
    """Give the database a new id, and return it: its service's consumer starts from the stream's first event again."""
    database_id = f"{RESTORED}{new_id()}" if is_restored else new_id()
    connection.execute(DATABASE_IDENTITY.update().values(database_id=database_id))
    return database_id


def raise_if_restored(connection: Connection) -> None:
    """Raises FatalError for a restored copy: its service would execute tasks that were done since.

    It would also use positions a second time that it has published since.
    """
    if not inspect(connection).has_table(DATABASE_IDENTITY.name):
        return
    database_id, service = connection.execute(
        select(DATABASE_IDENTITY.c.database_id, DATABASE_IDENTITY.c.service)
    ).one()
    if database_id.startswith(RESTORED):
        raise FatalError(
            f"{connection.engine.url.database} was restored from a copy: first fetch the later "
            f"events of its service back with: quadrille reconcile {service}"
        )


def claim_current(connection: Connection, service: str) -> str:
    """The id of a database of the current format. Raises FatalError, as for one that is still to be migrated."""
    identity = claim(connection, service)
    if identity.format != FORMAT:
        raise FatalError(
            f"{connection.engine.url.database} was made by an older release: "
            f"start the {service} service once, which migrates it"
        )
    return identity.database_id
