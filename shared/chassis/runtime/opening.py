"""The start of a service: at once, or after the rebuild of tables that it cannot use, while it answers health checks."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, MetaData

from shared.chassis.engine.rebuild import DerivedTables, open_tables
from shared.chassis.engine.rebuilder import Rebuilder, RebuildStatus
from shared.chassis.runtime.loops import Loop
from shared.chassis.runtime.resources import Resources
from shared.chassis.settings import ChassisSettings


class Opening:
    """Opens the database of a service, then the rest of it."""

    def __init__(
        self,
        name: str,
        settings: ChassisSettings,
        resources: Resources,
        *,
        tables: MetaData,
        derived: Callable[[], DerivedTables],
        versions: Path | None = None,
    ) -> None:
        self.rebuilder = Rebuilder(resources.database, derived, settings.failpoint)
        self.is_open = False
        """Whether requests can be answered."""
        self._resources = resources
        self._open_tables = partial(
            open_tables,
            service=name,
            metadata=tables,
            derived=self.rebuilder.derived,
            versions=versions,
        )
        self._loop: Loop | None = None

    async def run(
        self,
        start: Callable[[str], Awaitable[None]],
        before_migrating: Callable[[Connection], None] = lambda _connection: None,
    ) -> None:
        """Call `start` with the id of the database: now, or in the background when its tables are rebuilt.

        Raises FatalError.
        """
        self._resources.lock()
        self.rebuilder.delete_leftovers()
        await self._resources.database.run(before_migrating)
        database_id, is_complete = await self._resources.database.run(self._open_tables)
        if is_complete:
            await self._finish(start, database_id)
            return
        self._loop = Loop("opening", partial(self._rebuild, start, database_id))
        self._loop.start()

    async def stop(self) -> None:
        """Abort a rebuild, and a start in the background."""
        await self.rebuilder.close()
        if self._loop:
            await self._loop.stop()

    def waiting_for(self) -> list[str]:
        """What it waits for before the service can answer requests, as phrases."""
        if self.is_open:
            return []
        rebuild = self.rebuilder.current or self.rebuilder.last
        if rebuild is None or rebuild.status is RebuildStatus.COMPLETED:
            return ["its database"]
        if rebuild.status is RebuildStatus.FAILED:
            return ["its tables, whose rebuild fails: see its log"]
        share = rebuild.events / rebuild.total_events if rebuild.total_events else 0
        percent = int(share * 10) * 10  # few steps: the launcher prints each
        return [f"its tables, which are rebuilt ({percent} %)"]

    async def _rebuild(self, start: Callable[[str], Awaitable[None]], database_id: str) -> None:
        await self.rebuilder.rebuild_until_complete()
        await self._finish(start, database_id)

    async def _finish(self, start: Callable[[str], Awaitable[None]], database_id: str) -> None:
        await start(database_id)
        self.is_open = True
