"""The whole shop: orders per second at saturation, and latency at a low rate.

All processes, with this load generator, share the given cores; SQLite syncs every commit, mails are recorded but not
sent, the carrier answers at once.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing, closing, suppress
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench.load import Connection, Unexpected, connect, get, listen, post
from bench.processes import Pids, cpu_seconds, resident_mebibytes, running_shop
from bench.table import percentile, print_disk, print_machine, print_table
from shared.settings import ShopSettings

ADDRESS = {
    "name": "Bench",
    "lines": ["1 Main Street"],
    "postcode": "1000",
    "city": "Benchton",
    "country": "CH",
}
PRODUCT = {
    "productId": "bench",
    "name": "Bench",
    "description": "",
    "price": 100,
    "stock": 1_000_000,
}
ORDER = post(
    "/orders",
    {
        "email": "bench@example.com",
        "items": [{"productId": PRODUCT["productId"], "quantity": 1}],
        "shippingAddress": ADDRESS,
    },
)
WARM_UP_ORDERS = 1000
TIMEOUT_SECONDS = 120
CONNECT_SECONDS = 1
"""Before an order is sent: a service closes a connection without a request after ten seconds."""
POLL_SECONDS = 0.05

COMPLETED = "SELECT count(*) FROM orders WHERE status = 'COMPLETED'"
SETTLED = """SELECT min((SELECT count(*) FROM orders WHERE status = 'COMPLETED'),
                        (SELECT count(*) FROM reservations WHERE status = 'DEDUCTED'),
                        (SELECT count(*) FROM notifications) / 3)"""
"""Orders with nothing left to do: completed, stock deducted, three mails recorded."""


class Saturation(NamedTuple):
    """Seconds from the first POST, and CPU seconds by process until every order was settled."""

    orders: int
    posted: float
    visible: float
    settled: float
    cpu: dict[str, float]


class Latency(NamedTuple):
    """Seconds of each order."""

    posts: list[float]
    completions: list[float]


async def main() -> None:
    args = _arguments()
    os.sched_setaffinity(0, args.cores)
    print_machine()
    with (
        tempfile.TemporaryDirectory(prefix="quadrille-bench-", dir=args.directory) as directory,
        running_shop(Path(directory)) as (settings, pids),
    ):
        print_disk(Path(directory))
        token = await sign_in(settings)
        await stock_up(settings, token)
        await saturate(settings, pids, WARM_UP_ORDERS, args.connections)
        saturation = await saturate(settings, pids, args.orders, args.connections)
        latency = await pace(settings, token, args.rate, args.seconds)
        memory = {name: resident_mebibytes(pid) for name, pid in pids.items()}
    _report_saturation(saturation, args.connections, memory)
    _report_latency(latency, args.rate)


async def saturate(settings: ShopSettings, pids: Pids, orders: int, connections: int) -> Saturation:
    """POST orders as fast as they are accepted, and wait until every one is settled."""
    share = orders // connections
    buyers = [await connect(settings.order_port) for _ in range(connections)]
    with closing(_read_database(settings)) as database:
        goal = _count(database, COMPLETED) + share * connections
        cpu = {name: cpu_seconds(pid) for name, pid in pids.items()}
        start = time.perf_counter()
        await asyncio.gather(*(_buy(buyer, share) for buyer in buyers))
        for buyer in buyers:
            buyer.close()
        posted = time.perf_counter() - start
        visible = await _reached(database, COMPLETED, goal) - start
        settled = await _reached(database, SETTLED, goal) - start
        used = {name: cpu_seconds(pid) - cpu[name] for name, pid in pids.items()}
    return Saturation(share * connections, posted, visible, settled, used)


async def pace(settings: ShopSettings, token: str, rate: float, seconds: float) -> Latency:
    """POST at fixed times, whether or not earlier orders are completed.

    An order is visible once the read API's event stream has sent OrderCompleted and a following GET returns
    COMPLETED.
    """
    orders = int(rate * seconds)
    watching = asyncio.create_task(_watch(settings, token, orders))
    await asyncio.sleep(1)
    start = time.perf_counter()
    bought = await asyncio.gather(
        *(_buy_at(settings, start + number / rate) for number in range(orders))
    )
    async with asyncio.timeout(TIMEOUT_SECONDS):
        visible = await watching
    return Latency(
        [posted - due for _, due, posted in bought],
        [visible[order_id] - due for order_id, due, _ in bought],
    )


async def sign_in(settings: ShopSettings) -> str:
    admin = {"email": settings.admin_email, "password": settings.admin_password}
    connection = await connect(settings.order_port)
    token: str = json.loads(await connection.ask(post("/auth/login", admin)))["accessToken"]
    return token


async def stock_up(settings: ShopSettings, token: str) -> None:
    """Create the product, and wait until the order service has it on its price list."""
    inventory = await connect(settings.inventory_port)
    await _until_accepted(inventory, post("/products", PRODUCT, token))
    await _until_accepted(await connect(settings.order_port), ORDER)


async def _until_accepted(connection: Connection, request: bytes) -> None:
    """Repeat the request until the service has received the events that it needs."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            with suppress(Unexpected):
                await connection.ask(request, b"201")
                return
            await asyncio.sleep(POLL_SECONDS)


async def _buy(buyer: Connection, orders: int) -> None:
    for _ in range(orders):
        await _until_accepted(buyer, ORDER)


async def _buy_at(settings: ShopSettings, moment: float) -> tuple[str, float, float]:
    """The order's id, when it was due, and when it was answered."""
    await asyncio.sleep(moment - CONNECT_SECONDS - time.perf_counter())
    buyer = await connect(settings.order_port)
    await asyncio.sleep(moment - time.perf_counter())
    answer = await buyer.ask(ORDER, b"201")
    posted = time.perf_counter()
    buyer.close()
    return json.loads(answer)["orderId"], moment, posted


async def _watch(settings: ShopSettings, token: str, orders: int) -> dict[str, float]:
    """When each of this number of orders was returned as COMPLETED."""
    visible: dict[str, float] = {}
    connection = await connect(settings.read_api_port)
    async with aclosing(listen(settings.read_api_port, get("/events/stream", token))) as events:
        async for event in events:
            if event["type"] != "OrderCompleted":
                continue
            order = json.loads(await connection.ask(get(f"/orders/{event['key']}", token)))
            assert order["status"] == "COMPLETED", order
            visible[event["key"]] = time.perf_counter()
            if len(visible) == orders:
                break
    return visible


def _read_database(settings: ShopSettings) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{settings.data_dir}/read.db?mode=ro", uri=True)


async def _reached(database: sqlite3.Connection, query: str, goal: int) -> float:
    """When the count had _reached the goal."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while _count(database, query) < goal:  # noqa: ASYNC110 - a file is polled
            await asyncio.sleep(POLL_SECONDS)
    return time.perf_counter()


def _count(database: sqlite3.Connection, query: str) -> int:
    count: int = database.execute(query).fetchone()[0]
    return count


def _report_saturation(measured: Saturation, connections: int, memory: dict[str, float]) -> None:
    orders = measured.orders
    print_table(
        f"Saturation: {orders} orders over {connections} connections, each POSTs again after the response",
        ["from the first POST until all are", "seconds", "orders/s"],
        [
            ["accepted (201)", measured.posted, orders / measured.posted],
            ["visible as COMPLETED", measured.visible, orders / measured.visible],
            ["settled: stock deducted, 3 mails", measured.settled, orders / measured.settled],
        ],
    )
    used = [[name, 1000 * seconds / orders, memory[name]] for name, seconds in measured.cpu.items()]
    used.append(["total", *(sum(column) for column in list(zip(*used, strict=True))[1:])])
    print_table(
        "CPU time until all are settled; memory at the end",
        ["process", "CPU ms/order", "RSS MiB"],
        used,
    )


def _report_latency(measured: Latency, rate: float) -> None:
    print_table(
        f"Latency: {len(measured.posts)} orders, {rate:g} per second whether or not earlier ones are completed",
        ["from POST until", "p50 ms", "p99 ms", "max ms"],
        [
            ["answered", *_spread(measured.posts)],
            ["visible as COMPLETED", *_spread(measured.completions)],
        ],
    )


def _spread(seconds: Sequence[float]) -> list[float]:
    return [1000 * percentile(seconds, share) for share in (0.5, 0.99, 1)]


def _arguments() -> argparse.Namespace:
    cores = sorted(os.sched_getaffinity(0))[:2]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=6000)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=15, help="of the latency run")
    parser.add_argument("--cores", type=int, nargs="+", default=cores)
    parser.add_argument("--directory", type=Path, help="of the databases")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main())
