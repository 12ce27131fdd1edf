"""The whole shop under ten times the load that it can sustain: the responses, memory, recovery, and losses.

Each order comes from a client of its own, which opens a connection, waits for a response up to five seconds and leaves.
"""

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench.load import HEAD_END, Connection, connect
from bench.processes import Pids, resident_mebibytes, running_shop
from bench.shop import ORDER, Latency, pace, saturate, sign_in, stock_up
from bench.table import percentile, print_disk, print_machine, print_table
from shared.settings import ShopSettings

PATIENCE_SECONDS = 5
TICK_SECONDS = 0.01
MAX_CLIENTS = 8000
"""Present at the same time: a client above this number is not started, which is reported."""
SAMPLE_SECONDS = 0.5
PACED_SECONDS = 8
PACED_RATE = 10
RECOVERY_SECONDS = 600
QUIET_SECONDS = 10
"""The kernel may deliver the connections of clients that left this much later."""

COMPLETED = "SELECT count(*) FROM orders WHERE status = 'COMPLETED'"
PLACED = "SELECT count(*) FROM orders"


class Overload(NamedTuple):
    """What the clients experienced."""

    outcomes: Counter[str]
    """Status with or without Retry-After, or how the client got no response."""
    accepted: dict[str, float]
    """Seconds until the response, by order id."""
    refusals: list[float]
    """Seconds until a 503."""
    ended_at: float


class Peaks(NamedTuple):
    """The largest values seen."""

    mebibytes: dict[str, float]
    wal_mebibytes: dict[str, float]


async def main() -> None:
    args = _arguments()
    os.sched_setaffinity(0, args.cores)
    _allow_open_files(2 * MAX_CLIENTS)
    print_machine()
    with (
        tempfile.TemporaryDirectory(prefix="quadrille-bench-", dir=args.directory) as directory,
        running_shop(Path(directory)) as (settings, pids),
    ):
        print_disk(Path(directory))
        await _measure(args, settings, pids)


async def _measure(args: argparse.Namespace, settings: ShopSettings, pids: Pids) -> None:
    token = await sign_in(settings)
    await stock_up(settings, token)
    warm = await saturate(settings, pids, args.orders, args.connections)
    sustainable = warm.orders / warm.settled
    before = await pace(settings, token, PACED_RATE, PACED_SECONDS)
    idle = {name: resident_mebibytes(pid) for name, pid in pids.items()}
    earlier = _count(settings, "order", PLACED)
    async with _sampled(settings, pids) as peaks:
        overload = await _overload(settings, args.times * sustainable, args.seconds)
        first_answer = await _first_answer(settings, overload) - overload.ended_at
        all_ended = await _all_ended(settings) - overload.ended_at
    placed = _count(settings, "order", PLACED) - earlier
    await asyncio.sleep(QUIET_SECONDS)
    after = await pace(settings, token, PACED_RATE, PACED_SECONDS)
    lost = _not_completed(settings, overload.accepted)
    _report_clients(overload, args, sustainable)
    _report_memory(idle, peaks, pids)
    print_table(
        "Recovery",
        ["", ""],
        [
            ["seconds until an order is answered 201", first_answer],
            ["seconds until every order has ended", all_ended],
            ["orders accepted (201)", len(overload.accepted)],
            ["accepted orders that are not completed", len(lost)],
            ["orders placed without a response", placed - len(overload.accepted)],
            ["sustainable orders/s before", sustainable],
        ],
    )
    print_table(
        f"Latency at {PACED_RATE} orders/s",
        ["", "answered p50 ms", "p99", "completed p50 ms", "p99"],
        [["before", *_spread(before)], ["after", *_spread(after)]],
    )


async def _overload(settings: ShopSettings, rate: float, seconds: float) -> Overload:
    """Start clients at fixed times, whether or not earlier ones have their response."""
    overload = Overload(Counter(), {}, [], 0)
    clients: set[asyncio.Task[None]] = set()
    start, started = time.perf_counter(), 0
    while (now := time.perf_counter()) < start + seconds:
        due = int((now - start) * rate)
        for _ in range(due - started):
            if len(clients) >= MAX_CLIENTS:
                overload.outcomes["not started: too many clients"] += 1
                continue
            client = asyncio.create_task(_order(settings, overload))
            clients.add(client)
            client.add_done_callback(clients.discard)
        started = due
        await asyncio.sleep(TICK_SECONDS)
    overload = overload._replace(ended_at=time.perf_counter())
    if clients:
        await asyncio.wait(clients)
    return overload


async def _order(settings: ShopSettings, overload: Overload) -> None:
    start = time.perf_counter()
    connection: Connection | None = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            connection = await connect(settings.order_port)
            answer = await connection.exchange(ORDER)
    except TimeoutError:
        overload.outcomes["no response within 5 s" if connection else "no connection in 5 s"] += 1
    except OSError:
        overload.outcomes["connection refused or reset"] += 1
    else:
        _note(overload, answer, time.perf_counter() - start)
    finally:
        if connection:
            connection.close()


def _note(overload: Overload, answer: bytes, seconds: float) -> None:
    head, _, body = answer.partition(HEAD_END)
    status = head.split(b" ", 2)[1].decode()
    has_pause = b"\r\nretry-after:" in head.lower()
    overload.outcomes[f"{status} with Retry-After" if has_pause else status] += 1
    if status == "201":
        overload.accepted[json.loads(body)["orderId"]] = seconds
    elif status == "503":
        overload.refusals.append(seconds)


async def _first_answer(settings: ShopSettings, overload: Overload) -> float:
    """When the first order after the load is accepted."""
    accepted = len(overload.accepted)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while len(overload.accepted) == accepted:
            await _order(settings, overload)
    return time.perf_counter()


@asynccontextmanager
async def _sampled(settings: ShopSettings, pids: Pids) -> AsyncIterator[Peaks]:
    peaks = Peaks({}, {})

    async def sample() -> None:
        while True:
            for name, pid in pids.items():
                peaks.mebibytes[name] = max(peaks.mebibytes.get(name, 0), resident_mebibytes(pid))
            for wal in settings.data_dir.glob("*.db-wal"):
                size = wal.stat().st_size / 2**20
                name = wal.name.removesuffix(".db-wal")
                peaks.wal_mebibytes[name] = max(peaks.wal_mebibytes.get(name, 0), size)
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        yield peaks
    finally:
        sampling.cancel()


async def _all_ended(settings: ShopSettings) -> float:
    """When the read API shows every order as COMPLETED; looked at again after a pause, for commands still under way."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            moment = time.perf_counter()
            for _ in range(2):
                if _count(settings, "read", COMPLETED) != _count(settings, "order", PLACED):
                    break
                await asyncio.sleep(SAMPLE_SECONDS)
            else:
                return moment


def _count(settings: ShopSettings, service: str, query: str) -> int:
    with closing(_database(settings, service)) as database:
        count: int = database.execute(query).fetchone()[0]
        return count


def _not_completed(settings: ShopSettings, accepted: dict[str, float]) -> set[str]:
    with closing(_database(settings, "order")) as database:
        rows = database.execute("SELECT order_id FROM orders WHERE status = 'COMPLETED'")
        return accepted.keys() - {order_id for (order_id,) in rows}


def _database(settings: ShopSettings, service: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{settings.data_dir}/{service}.db?mode=ro", uri=True)


def _report_clients(overload: Overload, args: argparse.Namespace, sustainable: float) -> None:
    total = overload.outcomes.total()
    print_table(
        f"{args.times:g} times the sustainable {sustainable:.0f} orders/s for {args.seconds:g} s: {total} clients",
        ["outcome", "clients", "per second"],
        [
            [outcome, count, count / args.seconds]
            for outcome, count in overload.outcomes.most_common()
        ],
    )
    for title, seconds in (
        ("accepted", list(overload.accepted.values())),
        ("refused", overload.refusals),
    ):
        with suppress(IndexError):
            p50, p99 = (1000 * percentile(seconds, share) for share in (0.5, 0.99))
            print(f"{title}: after {p50:.0f} ms at p50, {p99:.0f} ms at p99")


def _report_memory(idle: dict[str, float], peaks: Peaks, pids: Pids) -> None:
    print_table(
        "Memory (RSS MiB)",
        ["process", "before", "peak", "at the end"],
        [
            [name, idle[name], peaks.mebibytes[name], resident_mebibytes(pid)]
            for name, pid in pids.items()
        ],
    )
    print_table(
        "Write-ahead logs", ["database", "peak MiB"], [*map(list, peaks.wal_mebibytes.items())]
    )


def _spread(measured: Latency) -> list[float]:
    return [
        1000 * percentile(seconds, share)
        for seconds in (measured.posts, measured.completions)
        for share in (0.5, 0.99)
    ]


def _allow_open_files(number: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, most), most))


def _arguments() -> argparse.Namespace:
    cores = sorted(os.sched_getaffinity(0))[:2]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=float, default=10, help="the sustainable rate")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--orders", type=int, default=3000, help="to find the sustainable rate")
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--cores", type=int, nargs="+", default=cores)
    parser.add_argument("--directory", type=Path, help="of the databases")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main())
