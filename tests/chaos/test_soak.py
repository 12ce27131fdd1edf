"""Random faults while customers order; afterwards every order has ended and no invariant is violated.

`SEED=…` repeats the faults, `CHAOS_SECONDS=…` sets their duration. Without them: a new seed, one minute.
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

from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json
from tests.support.shop_expectations import SERVICES

FINAL = {"COMPLETED", "CANCELLED_NO_STOCK", "SHIPMENT_FAILED", "CANCELLED", "EXPIRED"}
PLENTY = 1_000_000
CUSTOMERS = 4


@pytest.fixture
def seed() -> int:
    drawn = int(os.environ.get("SEED") or secrets.randbelow(10**6))  # noqa: TID251 - ours alone
    print(f"SEED={drawn}")  # noqa: T201 - shown when the test fails
    return drawn


async def test_random_faults_lose_no_order(tmp_path: Path, seed: int):
    seconds = float(os.environ.get("CHAOS_SECONDS") or 60)  # noqa: TID251 - ours alone
    draw = random.Random(seed)
    with RunningShop(tmp_path, carrier_success_rate=0.7, carrier_outage_rate=0.1) as shop:
        await shop.start()
        await shop.stock_up(plenty=PLENTY, scarce=25)
        accepted: list[Json] = []
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for number in range(CUSTOMERS):
                tasks.create_task(
                    _order_repeatedly(shop, random.Random(f"{seed}:{number}"), until, accepted)
                )
            tasks.create_task(_inject_faults(shop, draw, until))
        await shop.settle(within_seconds=120)
        ended = {order["orderId"]: shop.status(order["orderId"]) for order in accepted}
        assert accepted
        assert set(ended.values()) <= FINAL
        for order_id, status in ended.items():
            await shop.until(order_id, status)
        print(f"{len(ended)} orders, all ended")  # noqa: T201 - how much was tested


async def _order_repeatedly(
    shop: RunningShop, draw: random.Random, until: float, accepted: list[Json]
) -> None:
    """A customer who repeats each order until it is answered, and cancels some."""
    while time.monotonic() < until:
        line = draw.choice([("plenty", draw.randint(1, 3)), ("scarce", draw.randint(1, 3))])
        order = await asyncio.to_thread(
            shop.guest.order_with_retries, line, email="someone@example.com"
        )
        accepted.append(order)
        if draw.random() < 0.2:
            await asyncio.to_thread(_cancel, shop, order["orderId"])
        await asyncio.sleep(draw.random() * 0.1)


def _cancel(shop: RunningShop, order_id: str) -> None:
    """Repeat the request until it is answered."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = shop.admin.post("order", f"/orders/{order_id}/cancel", {})
            if answer.status_code != 503:
                assert answer.status_code in {202, 409}, answer.text
                return
        time.sleep(0.05)


async def _inject_faults(shop: RunningShop, draw: random.Random, until: float) -> None:
    faults: list[Callable[[RunningShop, random.Random], Awaitable[None]]] = [
        _kill_a_service,
        _kill_a_service,
        _kill_the_broker,
        _freeze_the_broker,
        _stop_a_service,
    ]
    while time.monotonic() < until:
        await draw.choice(faults)(shop, draw)
        await asyncio.sleep(draw.uniform(0.5, 2))


async def _kill_a_service(shop: RunningShop, draw: random.Random) -> None:
    name = draw.choice(list(SERVICES))
    shop.kill(name)
    await asyncio.sleep(draw.random())
    shop.start_service(name)
    await shop.until_ready(name)


async def _stop_a_service(shop: RunningShop, draw: random.Random) -> None:
    name = draw.choice(list(SERVICES))
    await asyncio.to_thread(shop.terminate, name)
    shop.start_service(name)
    await shop.until_ready(name)


async def _kill_the_broker(shop: RunningShop, draw: random.Random) -> None:
    shop.broker.kill()
    await asyncio.sleep(draw.random() * 2)
    shop.broker.restart()


async def _freeze_the_broker(shop: RunningShop, draw: random.Random) -> None:
    shop.broker.pause()
    await asyncio.sleep(draw.random() * 3)
    shop.broker.resume()
