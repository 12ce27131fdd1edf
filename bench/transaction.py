"""The order service's batch as one transaction: in the writer's thread, or on aiosqlite.

The writer runs a whole batch in its thread. On SQLAlchemy's asyncio engine the same function runs in a greenlet
(`run_sync`), and every cursor call is sent to aiosqlite's thread and back.
"""

import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import uvloop
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import create_async_engine

from bench.table import print_machine, print_table
from order_service.app import logic
from order_service.orders.domain import PlaceOrder, RequestedItem
from order_service.tables import METADATA
from shared.chassis.engine.unit_of_work import CommandEnvelope, process_batch
from shared.chassis.messages.clock import new_id, now
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import (
    CHASSIS_METADATA,
    _prepare_sqlite,
    open_for_writing,
)
from shared.contracts import ProductCreated
from shared.settings import ShopSettings

BATCHES = {1: 400, 10: 200, 50: 100}
"""The number of batches of each size."""
ROUNDS = 3
"""Of both in turns; the fastest counts, because other processes use the machine too."""

LOGIC = logic(ShopSettings())
PRODUCT = RecordedEvent(
    event_id=new_id(),
    source="inventory",
    position=1,
    event=ProductCreated(product_id="bench", name="Bench", description="", price=100),
    recorded_at=now(),
    correlation_id="bench",
)

Work = Callable[[Connection], object]
Run = Callable[[Work], Awaitable[object]]


async def main() -> None:
    print_machine()
    rows = []
    for size, times in BATCHES.items():
        fastest = [(float("inf"), float("inf"))] * 2
        for _ in range(ROUNDS):
            measured = [await in_writer_thread(size, times), await on_aiosqlite(size, times)]
            fastest = [min(pair) for pair in zip(fastest, measured, strict=True)]
        (wall, cpu), (awaited_wall, awaited_cpu) = fastest
        rows.append(
            [size, wall, awaited_wall, awaited_wall / wall, cpu, awaited_cpu, awaited_cpu / cpu]
        )
    print_table(
        "One transaction of several PlaceOrder commands: in the writer's thread, and on aiosqlite",
        ["commands", "wall ms", "aiosqlite", "ratio", "CPU ms", "aiosqlite", "ratio"],
        rows,
    )


async def in_writer_thread(size: int, times: int) -> tuple[float, float]:
    """Milliseconds and CPU milliseconds per batch, as the chassis runs it."""
    with tempfile.TemporaryDirectory() as directory:
        database = open_for_writing(f"sqlite:///{directory}/order.db")
        await database.run(CHASSIS_METADATA.create_all)
        await database.run(METADATA.create_all)
        measured = await _measure(database.run, size, times)
        await database.close()
    return measured


async def on_aiosqlite(size: int, times: int) -> tuple[float, float]:
    """The same batches on the asyncio engine."""
    with tempfile.TemporaryDirectory() as directory:
        engine = create_async_engine(f"sqlite+aiosqlite:///{Path(directory)}/order.db")
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin)

        async def run(work: Work) -> object:
            async with engine.begin() as connection:
                return await connection.run_sync(work)

        await run(CHASSIS_METADATA.create_all)
        await run(METADATA.create_all)
        measured = await _measure(run, size, times)
        await engine.dispose()
    return measured


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _measure(run: Run, size: int, times: int) -> tuple[float, float]:
    carry = partial(process_batch, source="order", logic=LOGIC)
    await run(partial(carry, messages=[PRODUCT], envelopes=[]))
    await run(partial(carry, messages=[], envelopes=_envelopes(size)))
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        await run(partial(carry, messages=[], envelopes=_envelopes(size)))
    return (
        1000 * (time.perf_counter() - wall) / times,
        1000 * (time.process_time() - cpu) / times,
    )


def _envelopes(count: int) -> list[CommandEnvelope]:
    item = RequestedItem(product_id="bench", quantity=1)
    return [
        CommandEnvelope(
            PlaceOrder(order_id=new_id(), user_id="bench", items=(item,), currency="JPY")
        )
        for _ in range(count)
    ]


if __name__ == "__main__":
    uvloop.run(main())
