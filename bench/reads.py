"""What each GET route costs: latency at a low rate, requests per second at saturation, CPU time per request.

Without arguments it starts a shop and measures it. `--shop NAME FILE` measures running shops instead, in turns, so that
two versions are compared in the same minutes; `--serve FILE` starts a shop, describes it in FILE, and leaves it running
until standard input is closed.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import uvloop

from bench.load import Connection, Unexpected, connect, get, post
from bench.processes import Pids, cpu_seconds, running_shop
from bench.shop import ADDRESS
from bench.table import percentile, print_machine, print_table
from shared.settings import ShopSettings

PRODUCTS = 60
ORDERS = 300
SETTLE_SECONDS = 60
POLL_SECONDS = 0.1


class Shop(NamedTuple):
    """A running shop: ports and process ids by service, and the admin's credentials."""

    ports: dict[str, int]
    pids: dict[str, int]
    admin: dict[str, str]


class Route(NamedTuple):
    """A GET request, and the service that answers it."""

    name: str
    service: str
    path: str


class Turn(NamedTuple):
    """One turn of a route in a shop."""

    latencies: list[float]
    """Seconds of each request at the low rate."""
    per_second: float
    """Requests at saturation."""
    cpu_ms: float
    """Of the service's process, per request at saturation."""


async def main(args: argparse.Namespace) -> None:
    """Measure the shops of the command line, or one of our own, and print."""
    print_machine()
    if args.shop:
        shops = {name: read_description(Path(file)) for name, file in args.shop}
        await compare(shops, args)
        return
    with (
        tempfile.TemporaryDirectory(prefix="quadrille-bench-") as directory,
        running_shop(Path(directory)) as (settings, pids),
    ):
        await compare({"": describe(settings, pids)}, args)


async def compare(shops: dict[str, Shop], args: argparse.Namespace) -> None:
    """Every route of every shop, in turns."""
    tokens = {name: await sign_in(shop) for name, shop in shops.items()}
    orders = {name: await fill(shop, tokens[name]) for name, shop in shops.items()}
    turns: dict[tuple[str, str], list[Turn]] = defaultdict(list)
    for number in range(args.turns + 1):
        for route_number in range(len(routes(""))):
            for name, shop in shops.items():
                route = routes(orders[name])[route_number]
                turn = await measure(shop, route, tokens[name], args)
                if number:  # the first turn only warms up
                    turns[route.name, name].append(turn)
    report(turns, args)


def routes(order_id: str) -> list[Route]:
    return [
        Route("/orders/{id}", "read_api", f"/orders/{order_id}"),
        Route("/orders", "read_api", "/orders"),
        Route("/products", "read_api", "/products"),
        Route("/dashboard", "read_api", "/dashboard"),
        Route("/orders/{id}/timeline", "read_api", f"/orders/{order_id}/timeline"),
        Route("inventory /products/{id}", "inventory_service", "/products/reads-1"),
        Route("inventory /products", "inventory_service", "/products"),
        Route("order /orders/{id}", "order_service", f"/orders/{order_id}"),
    ]


async def measure(shop: Shop, route: Route, token: str, args: argparse.Namespace) -> Turn:
    """First at the low rate over one connection, then over several as fast as requests are answered."""
    request = get(route.path, token)
    port = shop.ports[route.service]
    connections = [await connect(port) for _ in range(args.connections)]
    latencies = await pace(connections[0], request, args.rate, args.seconds)
    pid = shop.pids[route.service]
    cpu, start = cpu_seconds(pid), time.perf_counter()
    counts = await asyncio.gather(
        *(repeat(connection, request, start + args.seconds) for connection in connections)
    )
    seconds, cpu = time.perf_counter() - start, cpu_seconds(pid) - cpu
    for connection in connections:
        connection.close()
    return Turn(latencies, sum(counts) / seconds, 1000 * cpu / sum(counts))


async def pace(connection: Connection, request: bytes, rate: float, seconds: float) -> list[float]:
    """The seconds of each request, sent at fixed times."""
    start = time.perf_counter()
    latencies = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(start + number / rate - time.perf_counter())
        sent = time.perf_counter()
        await connection.ask(request)
        latencies.append(time.perf_counter() - sent)
    return latencies


async def repeat(connection: Connection, request: bytes, until: float) -> int:
    """How many requests were answered until then, one after the other."""
    answered = 0
    while time.perf_counter() < until:
        await connection.ask(request)
        answered += 1
    return answered


async def sign_in(shop: Shop) -> str:
    """The admin's access token."""
    connection = await connect(shop.ports["order_service"])
    token: str = json.loads(await connection.ask(post("/auth/login", shop.admin)))["accessToken"]
    return token


async def fill(shop: Shop, token: str) -> str:
    """Have products and orders, all of them visible; the id of the last order."""
    inventory = await connect(shop.ports["inventory_service"])
    for number in range(PRODUCTS):
        product = {
            "productId": f"reads-{number}",
            "name": f"Product {number}",
            "description": "Something that is sold here, with a sentence about it",
            "price": 100,
            "stock": 100_000,
        }
        with suppress(Unexpected):  # an earlier run made it
            await inventory.ask(post("/products", product, token), b"201")
    items = [{"productId": f"reads-{number}", "quantity": 1} for number in range(3)]
    order = post(
        "/orders",
        {"email": "reads@example.com", "items": items, "shippingAddress": ADDRESS},
    )
    orders = await connect(shop.ports["order_service"])
    order_id = ""
    for _ in range(ORDERS):
        order_id = json.loads(await _until_accepted(orders, order, b"201"))["orderId"]
    read_api = await connect(shop.ports["read_api"])
    async with asyncio.timeout(SETTLE_SECONDS):
        while not await _has_ended(read_api, get(f"/orders/{order_id}", token)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(POLL_SECONDS)
    return order_id


async def _until_accepted(connection: Connection, request: bytes, status: bytes) -> bytes:
    """The answer, as soon as the service has received the products."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            with suppress(Unexpected):
                return await connection.ask(request, status)
            await asyncio.sleep(POLL_SECONDS)


async def _has_ended(connection: Connection, request: bytes) -> bool:
    with suppress(Unexpected):
        order = json.loads(await connection.ask(request))
        return order["status"] == "COMPLETED" and len(order["notifications"]) == 3
    return False


def report(turns: dict[tuple[str, str], list[Turn]], args: argparse.Namespace) -> None:
    """Latencies of all turns together; of the other figures the median turn."""
    rows = []
    for (route, shop), measured in turns.items():
        latencies = [latency for turn in measured for latency in turn.latencies]
        rows.append(
            [
                route,
                shop,
                *(1000 * percentile(latencies, share) for share in (0.5, 0.99)),
                median(turn.per_second for turn in measured),
                median(turn.cpu_ms for turn in measured),
            ]
        )
    print_table(
        f"GET: latency at {args.rate:g} requests/s; then {args.connections} connections, each "
        f"asking again when answered; {args.turns} turns of {args.seconds:g} s",
        ["route", "shop", "p50 ms", "p99 ms", "requests/s", "CPU ms/request"],
        rows,
    )


def serve(file: Path) -> None:
    """Start a shop, describe it in the file, and run it until standard input is closed."""
    with (
        tempfile.TemporaryDirectory(prefix="quadrille-bench-") as directory,
        running_shop(Path(directory)) as (settings, pids),
    ):
        file.write_text(json.dumps(describe(settings, pids)._asdict()))
        sys.stdin.read()


def describe(settings: ShopSettings, pids: Pids) -> Shop:
    """Where this shop listens."""
    ports = {
        "order_service": settings.order_port,
        "inventory_service": settings.inventory_port,
        "read_api": settings.read_api_port,
    }
    admin = {"email": settings.admin_email, "password": settings.admin_password}
    return Shop(ports, {name: pids[name] for name in ports}, admin)


def read_description(file: Path) -> Shop:
    """A shop that `--serve` has started."""
    description: dict[str, Any] = json.loads(file.read_text())
    return Shop(**description)


def _arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shop", nargs=2, action="append", metavar=("NAME", "FILE"))
    parser.add_argument("--serve", type=Path, metavar="FILE")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each half of a turn")
    parser.add_argument("--turns", type=int, default=5)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    if (options := _arguments()).serve:
        serve(options.serve)
    else:
        uvloop.run(main(options))
