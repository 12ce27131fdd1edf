"""A shop of this release starts on the databases of an earlier one, and goes on where that stopped."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
import pytest_asyncio

from quadrille.audit.checks import run_checks
from quadrille.audit.pending import find_pending
from quadrille.audit.shop_snapshot import read_shop
from tests.support.earlier_release import expected, unpack_all
from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json, accepted

FINAL = {"COMPLETED", "EXPIRED", "CANCELLED", "CANCELLED_NO_STOCK", "SHIPMENT_FAILED"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningShop]:
    with RunningShop(tmp_path_factory.mktemp("shop"), carrier_success_rate=1) as running:
        unpack_all(running.data_dir)
        await running.start()
        yield running


def answer_of(shop: RunningShop, place: str) -> Json:
    """What is shown at a place such as `notifier /notifications?orderId=1`."""
    name, _, url = place.partition(" ")
    path, _, query = url.partition("?")
    return shop.admin.show(name, path, **dict(parse_qsl(query)))


def missing(answer: Any, earlier: Any, path: str = "") -> list[str]:
    """What the earlier answer contains and this one does not; more fields may be added."""
    if isinstance(earlier, dict) and isinstance(answer, dict):
        return [
            problem
            for key, value in earlier.items()
            for problem in missing(answer.get(key), value, f"{path}.{key}")
        ]
    if isinstance(earlier, list) and isinstance(answer, list) and len(answer) == len(earlier):
        return [
            problem
            for number, value in enumerate(earlier)
            for problem in missing(answer[number], value, f"{path}[{number}]")
        ]
    return [] if answer == earlier else [f"{path}: {answer!r}, not {earlier!r}"]


async def test_upgraded_shop_answers_as_before(shop: RunningShop):
    answers = expected()["answers"]
    problems = [
        (place, problem)
        for place, earlier in answers.items()
        for problem in missing(answer_of(shop, place), earlier)
    ]
    assert answers
    assert problems == []


async def test_upgraded_shop_finishes_pending_work(shop: RunningShop):
    def pending() -> list[str]:
        orders = shop.admin.show("read", "/orders")["items"]
        return [order["orderId"] for order in orders if order["status"] not in FINAL]

    await eventually(lambda: pending() == [], within_seconds=60)
    await eventually(lambda: shop.admin.show("read", "/products/fickle")["price"] == 1400)


async def test_upgraded_shop_accepts_new_orders(shop: RunningShop):
    order_id = shop.guest.order(("plenty", 1))["orderId"]
    await shop.until(order_id, "COMPLETED")


async def test_customer_signs_in_after_upgrade(shop: RunningShop):
    customer = expected()["customer"]
    account = {"email": customer["email"], "password": customer["password"]}
    accepted(shop.guest.post("order", "/auth/login", account), 200)


async def test_upgraded_databases_pass_the_checks(shop: RunningShop):
    def violations() -> list[Any]:
        snapshot = read_shop(shop.data_dir)
        assert list(find_pending(snapshot)) == []
        return run_checks(snapshot)

    assert await eventually(lambda: violations() == [], within_seconds=60)
