"""A rebuild of derived tables without the process that builds and the service."""

import asyncio
from functools import partial
from pathlib import Path

from sqlalchemy import MetaData

from shared.chassis.engine.rebuild import Built, DerivedTables, build, open_tables, swap
from shared.chassis.storage.database import Database
from shared.chassis.storage.rebuild_file import BUILT, delete_rebuild_file, rebuild_file


async def build_beside(
    database: Database, derived: DerivedTables, *, is_comparable: bool = True
) -> Built:
    """What the process does."""
    file = rebuild_file(database.url)
    delete_rebuild_file(file)
    live = Path(str(database.url.database))
    return await asyncio.to_thread(build, derived, file, live, is_comparable=is_comparable)


async def take_over(database: Database, derived: DerivedTables, built: Built) -> None:
    """What the service does with its result."""
    work = partial(swap, derived=derived, built=built)
    file = rebuild_file(database.url)
    await database.run_attached(file, BUILT, work, should_abort=lambda: False)
    delete_rebuild_file(file)


async def rebuild(
    database: Database, derived: DerivedTables, *, is_comparable: bool = True
) -> Built:
    """Both."""
    built = await build_beside(database, derived, is_comparable=is_comparable)
    await take_over(database, derived, built)
    return built


async def open_and_rebuild(
    database: Database,
    service: str,
    tables: MetaData,
    derived: DerivedTables,
    versions: Path | None = None,
) -> str:
    """As a service does at its start; returns the database's id."""
    work = partial(
        open_tables, service=service, metadata=tables, derived=derived, versions=versions
    )
    database_id, is_complete = await database.run(work)
    if not is_complete:
        await rebuild(database, derived, is_comparable=False)
    return database_id
