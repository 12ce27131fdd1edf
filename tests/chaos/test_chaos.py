"""Random faults while customers order; afterwards every order has ended and nine invariants hold.

`make chaos SEED=…` repeats the faults of a seed, `ORDERS=…` sets how many orders are placed, `FAULTS=a,b` selects faults.
"""

import os
import secrets
from pathlib import Path

import pytest

from tests.chaos.fault import FAULTS, Fault
from tests.chaos.plan import faults_named
from tests.chaos.round import Report, run_round
from tests.chaos.table import lines

TESTS = Path(__file__).parents[1]
ORDERS, PER_SECOND = 2000, 40
FEW_ORDERS, FEW_PER_SECOND = 30, 10
pytestmark = pytest.mark.filterwarnings(
    # The client of the broker leaves a socket open if the broker dies while it connects.
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

QUICK = (
    "broker_killed",
    "consumers_deleted",
    "service_killed",
    "service_stopped",
    "log_resent",
    "poison",
)
"""Their effects are over soon enough for the short round."""


@pytest.fixture
def seed() -> int:
    drawn = int(os.environ.get("SEED") or secrets.randbelow(10**6))  # noqa: TID251 - not a setting of ours
    print(f"SEED={drawn}")  # noqa: T201 - repeats the round
    return drawn


async def test_shop_survives_a_few_faults(tmp_path: Path, seed: int):
    _report(await run_round(tmp_path, seed, FEW_ORDERS, FEW_PER_SECOND, faults_named(QUICK)))


@pytest.mark.long
async def test_shop_survives_random_faults(tmp_path: Path, seed: int):
    orders = int(os.environ.get("ORDERS") or ORDERS)  # noqa: TID251 - not a setting of ours
    _report(await run_round(tmp_path, seed, orders, PER_SECOND, _selected()))


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_remedy_of_each_fault_has_test(fault: Fault):
    file, _, test = fault.test.partition("::")
    source = (TESTS / file).read_text()
    assert f"def {test}(" in source or f"class {test}(" in source


def _selected() -> list[Fault]:
    names = (os.environ.get("FAULTS") or "").split(",")  # noqa: TID251 - not a setting of ours
    return faults_named(name for name in names if name)


def _report(report: Report) -> None:
    print("", *lines(report), sep="\n")  # noqa: T201 - the figures of the round
    assert report.verdict.violations == []
