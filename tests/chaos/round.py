"""One round: orders and faults at the same time, then everything is healed, comes to rest and is checked."""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx

from order_service.orders.domain import is_final
from quadrille.audit.shop_snapshot import ShopSnapshot
from tests.chaos.checker import Verdict, check
from tests.chaos.customers import PLENTY, SCARCE, Customers
from tests.chaos.fault import Fault
from tests.chaos.plan import Plan, Strike
from tests.chaos.shop import ChaosShop, Ending
from tests.support.carrier_model import OUTCOMES
from tests.support.eventually import eventually
from tests.support.shop_expectations import SERVICES

QUIESCE_SECONDS = 120
ORDERS_PER_SECOND = 5
"""With many orders, so much longer may the shop take to come to rest."""
STOCK = {PLENTY: 1_000_000, SCARCE: 10}
SILENT_SHARE = 0.1
"""Of the dispatched parcels no outcome is ever reported: the operator settles them."""
DELIVERY_DAYS = 15 / 86_400
LOOK_SECONDS = 1
DEADLINES = (15, 900)
"""Short, so that orders expire; or so long that nothing but the remedies ends an order in time."""


class Report(NamedTuple):
    """What happened in a round."""

    seed: int
    deadline_seconds: float
    faults: Counter[str]
    """By kind."""
    answers: Counter[str]
    endings: list[Ending]
    load_seconds: float
    quiesce_seconds: float
    verdict: Verdict


async def run_round(
    directory: Path, seed: int, orders: int, per_second: float, faults: list[Fault]
) -> Report:
    """Place this number of orders under these faults. Raises AssertionError if the shop does not come to rest."""
    draw = random.Random(seed)
    deadline = draw.choice(DEADLINES)
    shop = ChaosShop(
        directory,
        has_small_disks=any(fault.needs_small_disk for fault in faults),
        carrier_success_rate=0.7,
        carrier_outage_rate=0.1,
        carrier_silent_rate=SILENT_SHARE,
        delivery_timeout_days=DELIVERY_DAYS,
        order_timeout_seconds=deadline,
    )
    async with shop.opened():
        await shop.stock_up(**STOCK)
        customers = Customers(shop.url("order"), seed, orders, per_second)
        struck: Counter[str] = Counter()
        started_at = time.monotonic()
        await _order_under_faults(customers, shop, Plan(seed, faults), struck)
        healed_at = time.monotonic()
        operator = asyncio.create_task(_settle_overdue_parcels(shop, draw))
        snapshot = await _come_to_rest(shop, QUIESCE_SECONDS + orders / ORDERS_PER_SECOND)
        operator.cancel()
        rested_at = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            verdict = await check(shop, snapshot, customers, seed, Path(scratch))
        return Report(
            seed,
            deadline,
            struck,
            customers.answers,
            shop.endings,
            load_seconds=healed_at - started_at,
            quiesce_seconds=rested_at - healed_at,
            verdict=verdict,
        )


async def _order_under_faults(
    customers: Customers, shop: ChaosShop, plan: Plan, struck: Counter[str]
) -> None:
    """Every fault is healed when the customers have their answers."""
    has_ended = asyncio.Event()
    started_at = time.monotonic()

    async def inject(strikes: Iterator[Strike]) -> None:
        for strike in strikes:
            print(f"{time.monotonic() - started_at:6.1f} s  {strike}", flush=True)  # noqa: T201 - the plan
            struck[strike.fault.kind] += 1
            async with strike.fault.inject(shop, random.Random(strike.seed)):
                await _pause(strike.seconds, has_ended)
            await _pause(strike.pause, has_ended)
            if has_ended.is_set():
                return

    async with asyncio.TaskGroup() as tasks:
        for strikes in plan.lanes():
            tasks.create_task(inject(strikes))
        await customers.order_all()
        has_ended.set()


async def _pause(seconds: float, has_ended: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await has_ended.wait()
    except TimeoutError:
        return


async def _come_to_rest(shop: ChaosShop, within_seconds: float) -> ShopSnapshot:
    """Every service is ready, and nothing is left to do, for the operator neither."""

    def at_rest() -> ShopSnapshot:
        snapshot = shop.at_rest()
        is_open = [order for order in snapshot.order.state.orders.values() if not is_final(order)]
        assert not is_open, f"{len(is_open)} orders are open"
        return snapshot

    await shop.until_ready(*SERVICES)
    return await eventually(lambda: asyncio.to_thread(at_rest), within_seconds)


async def _settle_overdue_parcels(shop: ChaosShop, draw: random.Random) -> None:
    """As an operator who looks at the board, once the faults are healed."""
    while True:
        with suppress(httpx.TransportError):  # a service starts again
            await asyncio.to_thread(_settle_overdue_once, shop, draw)
        await asyncio.sleep(LOOK_SECONDS)


def _settle_overdue_once(shop: ChaosShop, draw: random.Random) -> None:
    board = shop.admin.get("read", "/sagas", state="overdue", limit=200)
    for saga in board.json()["items"] if board.is_success else ():
        path, outcome = f"/shipments/{saga['orderId']}/settle", draw.choice(OUTCOMES)
        shop.admin.post("shipping", path, {"outcome": outcome})
