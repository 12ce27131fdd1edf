"""How long a service takes to compare its log with the stream, and to publish all of it again, and what its commands
take meanwhile.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import structlog
import uvloop
from sqlalchemy import Connection as DatabaseConnection

from bench.processes import running_broker
from bench.table import percentile, print_machine, print_table
from inventory_service.domain import CreateProduct, Description
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.runtime.service import Service
from shared.chassis.storage import stream_audit
from tests.support.broker import NatsServer
from tests.support.chassis import serving
from tests.support.eventually import eventually
from tests.support.settings import settings_for

EVENTS = 100_000
COPIES = """WITH RECURSIVE series(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM series WHERE value < ?)
INSERT INTO event_log SELECT 1 + value, event_id || '-' || value, 'q' || value, 1, event_type, schema_version,
    replace(data, 'p0', 'q' || value), causation_id, correlation_id, traceparent, recorded_at, NULL, 0, NULL, NULL
FROM event_log, series WHERE position = 1"""
UNSENT = "SELECT count(*) FROM event_log WHERE stream_seq IS NULL AND refusal IS NULL"
COMMAND_PAUSE_SECONDS = 0.02
RECONNECT_SECONDS = 30
TIMEOUT_SECONDS = 300

Check = Callable[[Service], Awaitable[bool]]


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print_machine()
    with tempfile.TemporaryDirectory() as name, running_broker(Path(name) / "nats") as broker:
        async with serving(settings_for(Path(name), broker.url)) as service:
            await _create(service, "p0")
            await service.writer.run_in_transaction(_fill)
            service.relay.wake()
            rows = [await _measure("published at first", service, _is_sent)]
            await _restart(service, broker, broker.kill)
            rows.append(await _measure("compared after a restart", service, _is_compared))
            await _restart(service, broker, broker.wipe)
            rows.append(await _measure("compared and published after a wipe", service, _is_sent))
    columns = ["", "s", "events/s", "service CPU s", "command p50 ms", "p99 ms"]
    print_table(f"{EVENTS:,} events of one service", columns, rows)


def _fill(connection: DatabaseConnection) -> None:
    connection.exec_driver_sql(COPIES, (EVENTS - 1,))


async def _restart(service: Service, broker: NatsServer, stop: Callable[[], None]) -> None:
    before = service.broker.server_id
    stop()
    broker.restart()
    await eventually(
        lambda: service.broker.is_connected and service.broker.server_id != before,
        RECONNECT_SECONDS,
    )


async def _measure(what: str, service: Service, is_done: Check) -> list[object]:
    latencies: list[float] = []
    commanding = asyncio.create_task(_command(service, what, latencies))
    start, cpu = time.perf_counter(), time.process_time()
    await eventually(lambda: is_done(service), TIMEOUT_SECONDS)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    commanding.cancel()
    await asyncio.wait([commanding])
    median, worst = (1000 * percentile(latencies, share) for share in (0.5, 0.99))
    return [what, seconds, EVENTS / seconds, cpu, median, worst]


async def _command(service: Service, what: str, latencies: list[float]) -> None:
    """Fifty commands a second, until cancelled."""
    for number in count():
        start = time.perf_counter()
        await _create(service, f"{what.replace(' ', '')}{number}")
        latencies.append(time.perf_counter() - start)
        await asyncio.sleep(COMMAND_PAUSE_SECONDS)


async def _create(service: Service, product_id: str) -> None:
    described = Description(name="Keyboard", description="", price=1)
    command = CreateProduct(product_id=product_id, description=described, stock=0)
    await service.writer.execute(CommandEnvelope(command))


async def _is_sent(service: Service) -> bool:
    def unsent(connection: DatabaseConnection) -> int:
        number: int = connection.exec_driver_sql(UNSENT).scalar_one()
        return number

    return await _is_compared(service) and await service.reads.run(unsent) <= 1


async def _is_compared(service: Service) -> bool:
    audit = await service.reads.run(stream_audit.read)
    return audit is not None and audit.server_id == service.broker.server_id


if __name__ == "__main__":
    uvloop.run(main())
