"""Deletes expired rows in slices, so that no command waits long for a sweep."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Column, Connection, delete, select

from shared.chassis.engine.writer import StorageUnavailable, Writer
from shared.chassis.messages import clock

EVERY_SECONDS = 3600
SLICE_ROWS = 2000
PAUSE_SECONDS = 0.1
"""Between two slices, for waiting commands."""

log = structlog.get_logger()


class RetentionRule(NamedTuple):
    """Rows whose time in `column`, which has an index, is longer ago than `after` are deleted."""

    column: Column[Any]
    after: timedelta


class RetentionLoop:
    """Sweeps once an hour."""

    def __init__(self, writer: Writer[Any, Any], expiries: Sequence[RetentionRule]) -> None:
        self._writer = writer
        self._expiries = expiries

    async def run(self) -> None:
        """Sweep at the start, and then every hour."""
        while True:
            try:
                for expiry in self._expiries:
                    await self._sweep(expiry)
            except StorageUnavailable as error:
                log.warning("retention.skipped", reason=str(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def _sweep(self, expiry: RetentionRule) -> None:
        deleted = SLICE_ROWS
        while deleted == SLICE_ROWS:
            deleted = await self._writer.run_in_transaction(partial(delete_slice, expiry=expiry))
            await asyncio.sleep(PAUSE_SECONDS)


def delete_slice(connection: Connection, expiry: RetentionRule) -> int:
    """Delete some of the expired rows, `SLICE_ROWS` at most; returns how many."""
    column, before = expiry.column, clock.now() - expiry.after
    (key,) = column.table.primary_key
    some = select(key).where(column < before).limit(SLICE_ROWS)
    return connection.execute(delete(column.table).where(key.in_(some))).rowcount
