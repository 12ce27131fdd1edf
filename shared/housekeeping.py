"""Forgets what has served its time: answers under idempotency keys, and ids heard long ago."""

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from shared import clock, idempotency, inbox
from shared.writer import StorageUnavailable, Writer

EVERY_SECONDS = 3600

log = structlog.get_logger()


class Housekeeping:
    """Sweeps once an hour."""

    def __init__(self, writer: Writer, inbox_days: int) -> None:
        self._writer = writer
        self._inbox_days = inbox_days

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                await self._writer.aside(self._sweep)
            except StorageUnavailable as error:
                log.warning("housekeeping.skipped", reason=str(error))
            await asyncio.sleep(EVERY_SECONDS)

    def _sweep(self, connection: Connection) -> None:
        now = clock.now()
        idempotency.forget_before(connection, now - timedelta(hours=idempotency.KEPT_HOURS))
        if self._inbox_days:
            inbox.forget_before(connection, now - timedelta(days=self._inbox_days))
