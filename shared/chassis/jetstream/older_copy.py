"""Detects a database that is older than what its durable has brought: a copy that was put back without `quadrille restore`.

The log may be complete, as when the service has published nothing since; then only the durable shows it.
"""

from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from shared.chassis.engine.writer import Writer
from shared.chassis.jetstream.durable import Durable
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.messages import clock
from shared.chassis.messages.catalog import Catalog
from shared.chassis.storage import database_identity, inbox, subscribed_types
from shared.chassis.storage.database import Database

log = structlog.get_logger()


class OlderCopy:
    """Has the durable start from the first event again; the inbox recognizes what was handled."""

    def __init__(
        self,
        reads: Database,
        writer: Writer[Any, Any],
        catalog: Catalog,
        inbox_retention_days: int,
    ) -> None:
        """With 0 days, inbox rows are never deleted."""
        self._catalog = catalog
        self._reads = reads
        self._writer = writer
        self._inbox_retention = timedelta(days=inbox_retention_days)

    async def before_binding(self, durable: Durable, streams: StreamManager) -> None:
        """Raises database and BROKER_ERRORS."""
        sequence = await durable.acknowledged()
        last = await streams.event_at(sequence, self._catalog) if sequence else None
        if last is None or not durable.brings(last.subject):
            return
        if self._inbox_retention and clock.now() - last.recorded_at > self._inbox_retention:
            return
        if await self._reads.run(partial(inbox.processed, event_ids=[last.event_id])):
            return
        log.warning("database.older_than_consumed", event_id=last.event_id)
        durable.belong_to(await self._writer.run_in_transaction(_receive_again))


def _receive_again(connection: Connection) -> str:
    """Returns the new id of the database."""
    subscribed_types.forget(connection)
    return database_identity.renew(connection)
