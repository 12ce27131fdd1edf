"""Minutes of injuries drawn from a seed, while customers order; then everything heals and is found whole.

`SEED=…` repeats the draw, `CHAOS_SECONDS=…` makes it longer. Without them: a new seed, one minute.
"""

import asyncio
import contextlib
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.support.running_shop import SERVICES, Fleet, Json

FINAL = {"COMPLETED", "CANCELLED_NO_STOCK", "SHIPMENT_FAILED", "CANCELLED", "EXPIRED"}
PLENTY = 1_000_000
CUSTOMERS = 4


@pytest.fixture
def seed() -> int:
    drawn = int(os.environ.get("SEED") or secrets.randbelow(10**6))  # noqa: TID251 - ours alone
    print(f"SEED={drawn}")  # noqa: T201 - shown when the test fails
    return drawn


async def test_whatever_is_killed_cut_or_frozen_every_order_ends_once(tmp_path: Path, seed: int):
    seconds = float(os.environ.get("CHAOS_SECONDS") or 60)  # noqa: TID251 - ours alone
    draw = random.Random(seed)
    with Fleet(tmp_path, carrier_success_rate=0.7, carrier_outage_rate=0.1) as fleet:
        await fleet.start()
        await fleet.stock_up(plenty=PLENTY, scarce=25)
        accepted: list[Json] = []
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for number in range(CUSTOMERS):
                tasks.create_task(_shop(fleet, random.Random(f"{seed}:{number}"), until, accepted))
            tasks.create_task(_injure(fleet, draw, until))
        await fleet.settle(within_seconds=120)
        ended = {order["orderId"]: fleet.status(order["orderId"]) for order in accepted}
        assert accepted
        assert set(ended.values()) <= FINAL
        for order_id, status in ended.items():
            await fleet.until(order_id, status)
        print(f"{len(ended)} orders, all ended")  # noqa: T201 - what the soak was worth


async def _shop(fleet: Fleet, draw: random.Random, until: float, accepted: list[Json]) -> None:
    """A customer who orders, insists on an answer, and sometimes changes his mind."""
    while time.monotonic() < until:
        line = draw.choice([("plenty", draw.randint(1, 3)), ("scarce", draw.randint(1, 3))])
        order = await asyncio.to_thread(fleet.order_insistently, line, email="someone@example.com")
        accepted.append(order)
        if draw.random() < 0.2:
            await asyncio.to_thread(_cancel, fleet, order["orderId"])
        await asyncio.sleep(draw.random() * 0.1)


def _cancel(fleet: Fleet, order_id: str) -> None:
    """Ask until there is an answer."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = fleet.post("order", f"/orders/{order_id}/cancel", {})
            if answer.status_code != 503:
                assert answer.status_code in {202, 409}, answer.text
                return
        time.sleep(0.05)


async def _injure(fleet: Fleet, draw: random.Random, until: float) -> None:
    injuries: list[Callable[[Fleet, random.Random], Awaitable[None]]] = [
        _kill_a_service,
        _kill_a_service,
        _kill_the_broker,
        _freeze_the_broker,
        _stop_a_service_in_good_order,
    ]
    while time.monotonic() < until:
        await draw.choice(injuries)(fleet, draw)
        await asyncio.sleep(draw.uniform(0.5, 2))


async def _kill_a_service(fleet: Fleet, draw: random.Random) -> None:
    name = draw.choice(list(SERVICES))
    fleet.kill(name)
    await asyncio.sleep(draw.random())
    fleet.start_service(name)
    await fleet.until_ready(name)


async def _stop_a_service_in_good_order(fleet: Fleet, draw: random.Random) -> None:
    name = draw.choice(list(SERVICES))
    await asyncio.to_thread(fleet.terminate, name)
    fleet.start_service(name)
    await fleet.until_ready(name)


async def _kill_the_broker(fleet: Fleet, draw: random.Random) -> None:
    fleet.broker.kill()
    await asyncio.sleep(draw.random() * 2)
    fleet.broker.restart()


async def _freeze_the_broker(fleet: Fleet, draw: random.Random) -> None:
    fleet.broker.pause()
    await asyncio.sleep(draw.random() * 3)
    fleet.broker.resume()
