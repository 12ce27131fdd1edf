"""Brings a database of an earlier release to the current format: its tables that are not derived, with Alembic.

The chassis and each service have a linear series of migrations of their own, and a table that names the last one. All
of them run in one transaction, so an interrupted migration leaves the database as it was. The layout before the first
migration is that of `database_identity.FIRST_FORMAT`; a new database is created in the current layout.
"""

from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

import structlog
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from sqlalchemy import Connection, MetaData, Table

from shared.chassis.errors import FatalError
from shared.chassis.storage import database_identity, stream_audit, subscribed_types
from shared.chassis.storage.database import CHASSIS_METADATA
from shared.chassis.storage.database_identity import DATABASE_IDENTITY, FORMAT

CHASSIS_VERSIONS = Path(__file__).with_name("versions")
TABLES_WITHOUT_OTHER_IMPORT = (stream_audit.STREAM_AUDIT, subscribed_types.SUBSCRIBED_TYPE)
"""Of `CHASSIS_METADATA`: a service that does not use them has them too, whether its database is new or migrated."""

log = structlog.get_logger()


class MigrationSeries(NamedTuple):
    """The migrations in one directory, and the table that names the last one that was run."""

    version_table: str
    directory: Path


def migrate(
    connection: Connection,
    service: str,
    metadata: MetaData,
    derived: Container[Table],
    versions: Path | None,
) -> str:
    """Create or migrate the tables of the chassis and of `metadata`, but the derived ones; returns the database's id.

    `versions` is the directory of the service's own migrations. Raises FatalError for a database of another service,
    and for one of a newer release.
    """
    all_series = [MigrationSeries("chassis_version", CHASSIS_VERSIONS)]
    if versions:
        all_series.append(MigrationSeries("service_version", versions))
    is_new = database_identity.is_new(connection)
    identity = database_identity.claim(connection, service)
    if is_new:
        for table in (*CHASSIS_METADATA.sorted_tables, *metadata.sorted_tables):
            if table not in derived:
                table.create(connection, checkfirst=True)
    for series in all_series:
        if is_new:
            _stamp(connection, series)
        else:
            _upgrade(connection, series)
    connection.execute(DATABASE_IDENTITY.update().values(format=FORMAT))
    return identity.database_id


def _stamp(connection: Connection, series: MigrationSeries) -> None:
    """Note that a new database has the layout after the last migration."""
    context = _context(connection, series)
    context.stamp(ScriptDirectory(series.directory, version_locations=[series.directory]), "head")


def _upgrade(connection: Connection, series: MigrationSeries) -> None:
    scripts = ScriptDirectory(series.directory, version_locations=[series.directory])
    context = _context(connection, series)
    with Operations.context(context):
        for script in _pending(connection, scripts, context.get_current_revision()):
            script.module.upgrade()
            context.stamp(scripts, script.revision)
            log.info("database.migrated", series=series.version_table, revision=script.revision)


def _pending(
    connection: Connection, scripts: ScriptDirectory, current: str | None
) -> Iterator[Script]:
    """The migrations after the current one, oldest first. Raises FatalError if the current one is unknown."""
    try:
        newest_first = list(scripts.iterate_revisions("head", current))
    except RevisionError as error:
        raise FatalError(
            f"{connection.engine.url.database} was made by a newer release (migration {current}): "
            "run that release"
        ) from error
    return reversed(newest_first)


def _context(connection: Connection, series: MigrationSeries) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": series.version_table})
