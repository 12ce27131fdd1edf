"""A shop for tests that leave it as they found it, and the logs of the processes for each test that fails."""

import os
import secrets
from collections.abc import AsyncIterator, Generator

import pytest
import pytest_asyncio

from tests.support.running_shop import RunningShop, open_shops
from tests.support.shop_client import ShopClient


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningShop]:
    """Five running services with 100,000 of `plenty` and ten of `scarce`; no test may restart them."""
    with RunningShop(tmp_path_factory.mktemp("shop"), carrier_success_rate=1) as shop:
        await shop.start()
        await shop.stock_up(plenty=100_000, scarce=10)
        yield shop


@pytest.fixture
def admin(shop: RunningShop) -> ShopClient:
    return shop.admin


@pytest.fixture
def aiko(shop: RunningShop) -> Generator[ShopClient]:
    with shop.guest.new_customer() as customer:
        yield customer


@pytest.fixture
def ben(shop: RunningShop) -> Generator[ShopClient]:
    with shop.guest.new_customer() as customer:
        yield customer


@pytest.fixture
def seed() -> int:
    """Another one at each run; SEED=… repeats a run."""
    drawn = int(os.environ.get("SEED") or secrets.randbelow(10**6))  # noqa: TID251 - ours alone
    print(f"SEED={drawn}")  # noqa: T201 - shown when the test fails
    return drawn


def pytest_runtest_setup() -> None:
    for shop in open_shops():
        shop.mark_logs()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [("processes", shop.marked_logs()) for shop in open_shops()]
    return report
