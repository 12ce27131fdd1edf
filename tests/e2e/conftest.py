"""A shop for whoever does it no harm, and the processes' own words for each test that fails."""

import os
import secrets
from collections.abc import AsyncIterator, Generator, Iterator

import pytest
import pytest_asyncio

from tests.support.http_clients import Person, admin_of
from tests.support.running_shop import Fleet, open_fleets


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Five services that are up, with plenty of `plenty` and ten of `prod001`; leave them as you found them."""
    with Fleet(tmp_path_factory.mktemp("shop"), carrier_success_rate=1) as fleet:
        await fleet.start()
        await fleet.stock_up(plenty=100_000, prod001=10)
        yield fleet


@pytest.fixture
async def declining(shop: Fleet) -> AsyncIterator[Fleet]:
    """The same shop while no carrier takes anything."""
    await shop.restart("shipping", carrier_success_rate="0")
    yield shop
    await shop.restart("shipping")


@pytest.fixture
def admin(shop: Fleet) -> Iterator[Person]:
    with admin_of(shop) as person:
        yield person


@pytest.fixture
def seed() -> int:
    """Another one at each run; SEED=… repeats a run."""
    drawn = int(os.environ.get("SEED") or secrets.randbelow(10**6))  # noqa: TID251 - ours alone
    print(f"SEED={drawn}")  # noqa: T201 - shown when the test fails
    return drawn


def pytest_runtest_setup() -> None:
    for fleet in open_fleets():
        fleet.begin_chapter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [("processes", fleet.chapter()) for fleet in open_fleets()]
    return report
