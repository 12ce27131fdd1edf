"""What a rebuild of derived tables costs: events per second, how long writes wait, and the latency of queries meanwhile.

Each service runs on a database with finished orders, without a broker. Queries are sent at a fixed rate, first without
a rebuild and then during one, so that both are measured in the same minute.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, NamedTuple

import psutil
import uvloop
from sqlalchemy import MetaData

import inventory_service.store
import notifier_service.store
import order_service.app
import order_service.store
import read_api.tables
import shipping_service.store
from bench.load import Connection, Unexpected, connect, get, post
from bench.table import percentile, print_disk, print_machine, print_table
from read_api.rebuild import VERSIONS, derived_tables
from shared.chassis.engine.rebuild import DerivedTables
from shared.chassis.storage.database import open_for_writing
from shared.settings import ShopSettings, port_of
from tests.support.access import Issuer
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.process import service_process
from tests.support.rebuilding import open_and_rebuild, rebuild
from tests.support.sample_history import Logs, sample_logs, trust, write_archive, write_log
from tests.support.settings import settings_for

ISSUER = Issuer()
ORDER_ID = "o-1-0"
START_SECONDS = 60


class Subject(NamedTuple):
    """A service, its tables, and queries that it answers."""

    tables: MetaData
    derived: Callable[[], DerivedTables]
    paths: tuple[str, ...]
    versions: Path | None = None


SUBJECTS = {
    "order": Subject(
        order_service.store.METADATA,
        order_service.store.derived_tables,
        (f"/orders/{ORDER_ID}", "/orders"),
    ),
    "inventory": Subject(
        inventory_service.store.METADATA,
        inventory_service.store.derived_tables,
        ("/products/p1", "/products"),
    ),
    "shipping": Subject(
        shipping_service.store.METADATA,
        shipping_service.store.derived_tables,
        (f"/shipments/{ORDER_ID}",),
    ),
    "notifier": Subject(
        notifier_service.store.METADATA,
        notifier_service.store.derived_tables,
        (f"/notifications?orderId={ORDER_ID}",),
    ),
    "read": Subject(
        read_api.tables.METADATA,
        derived_tables,
        (f"/orders/{ORDER_ID}", "/orders", "/products", f"/orders/{ORDER_ID}/timeline"),
        VERSIONS,
    ),
}


class Measured(NamedTuple):
    """One service's rebuild, and seconds of queries without one and meanwhile."""

    result: dict[str, Any]
    cpu_seconds: float
    """Of the process that builds."""
    before: list[float]
    meanwhile: list[float]


async def main(args: argparse.Namespace) -> None:
    """Measure each service, and print."""
    print_machine()
    logs = sample_logs(args.orders)
    measured = {}
    with tempfile.TemporaryDirectory(prefix="quadrille-bench-") as directory:
        print_disk(Path(directory))
        settings = settings_for(
            Path(directory), f"nats://127.0.0.1:{free_port()}", admin_password=token_urlsafe(12)
        )
        for service in args.services or SUBJECTS:
            await fill(Path(directory), service, logs)
            measured[service] = await measure(settings, service, args)
    report(measured, args)


async def fill(directory: Path, service: str, logs: Logs) -> None:
    """The database of a service that has handled all orders, and accepts our token."""
    subject = SUBJECTS[service]
    database = open_for_writing(f"sqlite:///{directory / service}.db")
    await open_and_rebuild(database, service, subject.tables, subject.derived(), subject.versions)
    if service == "read":
        await write_archive(database, logs)
    else:
        await write_log(database, logs[service])
    if service != "order":  # which trusts its own key
        await trust(database, service, ISSUER.published)
    await rebuild(database, subject.derived())
    await database.close()


async def measure(settings: ShopSettings, service: str, args: argparse.Namespace) -> Measured:
    """Queries at the rate for some seconds, then during a rebuild."""
    with ExitStack() as stack:
        process = stack.enter_context(service_process(service, settings))
        connection = await eventually(lambda: _open(port_of(settings, service)), START_SECONDS)
        admin = await connect(port_of(settings, service))
        stack.callback(admin.close)
        stack.callback(connection.close)
        token = await _token(settings, service, admin)
        requests = [get(path, token) for path in SUBJECTS[service].paths]
        end = time.perf_counter() + args.seconds
        before = await pace(connection, requests, args.rate, lambda: time.perf_counter() > end)
        await admin.ask(post("/rebuild", None, token), b"202")
        watching = asyncio.create_task(_until_ended(admin, get("/rebuild", token)))
        meanwhile = await pace(connection, requests, args.rate, watching.done)
        times = psutil.Process(process.pid).cpu_times()
        cpu_seconds = times.children_user + times.children_system
        return Measured(await watching, cpu_seconds, before, meanwhile)


async def pace(
    connection: Connection, requests: list[bytes], rate: float, has_ended: Callable[[], bool]
) -> list[float]:
    """The seconds of each request; a late response delays no later request's start on the clock."""
    start = time.perf_counter()
    latencies = []
    for number, request in enumerate(cycle(requests)):
        scheduled = start + number / rate
        await asyncio.sleep(scheduled - time.perf_counter())
        if has_ended():
            break
        await connection.ask(request)
        latencies.append(time.perf_counter() - scheduled)
    return latencies


async def _token(settings: ShopSettings, service: str, connection: Connection) -> str:
    if service != "order":
        return ISSUER.headers("root", "admin")["Authorization"].removeprefix("Bearer ")
    account = {"email": settings.admin_email, "password": settings.admin_password}
    token: str = json.loads(await connection.ask(post("/auth/login", account)))["accessToken"]
    return token


async def _open(port: int) -> Connection | None:
    try:
        connection = await connect(port)
        await connection.ask(get("/health/live"))
    except (OSError, Unexpected):
        return None
    return connection


async def _until_ended(connection: Connection, request: bytes) -> dict[str, Any]:
    while True:
        result: dict[str, Any] | None = json.loads(await connection.ask(request))["last"]
        if result:
            return result
        await asyncio.sleep(0.2)


def report(measured: dict[str, Measured], args: argparse.Namespace) -> None:
    rows, latencies = [], []
    for service, m in measured.items():
        events = m.result["events"]
        rows.append(
            [
                service,
                f"{events:,}",
                f"{m.result['eventsPerSecond']:,}",
                f"{events / m.cpu_seconds:,.0f}",
                m.result["swapSeconds"],
                m.result["differences"],
            ]
        )
        for name, values in (("without", m.before), ("rebuild", m.meanwhile)):
            latencies.append(
                [
                    f"{service}, {name}",
                    len(values),
                    *(1000 * percentile(values, share) for share in (0.5, 0.9, 0.99, 1)),
                ]
            )
    print_table(
        f"Rebuild of {args.orders:,} orders",
        ["service", "events", "events/s", "events/s of CPU", "swap s", "differences"],
        rows,
    )
    print_table(
        f"Queries, {args.rate:g} per second, from their scheduled time",
        ["service", "queries", "p50 ms", "p90 ms", "p99 ms", "max ms"],
        latencies,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("services", nargs="*", choices=[[], *SUBJECTS], metavar="service")
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=5, help="without a rebuild")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(_arguments()))
