"""Expired rows are deleted in slices; others stay."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from order_service.store import RETENTION_RULES
from order_service.tables import METADATA
from shared.chassis.engine.retention import SLICE_ROWS, RetentionLoop, RetentionRule, delete_slice
from shared.chassis.messages.clock import now
from shared.chassis.runtime.retention_rules import chassis_retention_rules
from shared.chassis.storage.database import CHASSIS_METADATA
from shared.chassis.storage.inbox import INBOX, mark_processed
from tests.support.chassis import Chassis, writing
from tests.support.eventually import eventually

WEEK = RetentionRule(INBOX.c.processed_at, timedelta(days=7))


async def fill(chassis: Chassis, *, old: int, new: int) -> None:
    def write(connection: Connection) -> None:
        mark_processed(connection, [f"old{n}" for n in range(old)], now() - timedelta(days=8))
        mark_processed(connection, [f"new{n}" for n in range(new)], now() - timedelta(days=6))

    await chassis.writer.run_in_transaction(write)


async def test_expired_rows_are_deleted_and_others_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shared.chassis.engine.retention.PAUSE_SECONDS", 0)
    async with writing(tmp_path / "inventory.db") as chassis:
        await fill(chassis, old=2 * SLICE_ROWS + 1, new=3)
        running = asyncio.create_task(RetentionLoop(chassis.writer, [WEEK]).run())

        async def is_swept() -> bool:
            ids = {row["event_id"] for row in await chassis.rows(INBOX)}
            return ids == {"new0", "new1", "new2"}

        await eventually(is_swept)
        running.cancel()


async def test_transaction_deletes_one_slice_at_most(tmp_path: Path):
    async with writing(tmp_path / "inventory.db") as chassis:
        await fill(chassis, old=SLICE_ROWS + 1, new=1)
        deleted = [
            await chassis.writer.run_in_transaction(
                lambda connection: delete_slice(connection, WEEK)
            )
            for _ in range(3)
        ]
        assert deleted == [SLICE_ROWS, 1, 0]


async def test_every_retention_rule_uses_an_index(tmp_path: Path):
    def explain_deletions(connection: Connection) -> list[str]:
        METADATA.create_all(connection)
        CHASSIS_METADATA.create_all(connection)
        plans: list[str] = []

        def explain(_connection, _cursor, statement, parameters, _context, _many) -> None:
            if statement.startswith("DELETE"):
                cursor = connection.connection.cursor()
                cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plans.extend(row[3] for row in cursor.fetchall())

        event.listen(connection, "before_cursor_execute", explain)
        for expiry in (*RETENTION_RULES, *chassis_retention_rules(1)):
            delete_slice(connection, expiry)
        return plans

    async with writing(tmp_path / "inventory.db") as chassis:
        plans = await chassis.writer.run_in_transaction(explain_deletions)
    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
