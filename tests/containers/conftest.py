"""Runs these tests if Docker Compose and an engine answer; otherwise deselects them and reports it."""

import subprocess
from collections.abc import AsyncIterator
from shutil import which

import pytest
import pytest_asyncio

from tests.containers.shop import ContainerShop
from tests.support.eventually import eventually
from tests.support.shop_expectations import READY_SECONDS, SERVICES

DESELECTED = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "containers: needs Docker Compose and an engine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    group = [item for item in items if item.get_closest_marker("containers")]
    if not group or (answers("compose", "version") and answers("info")):
        return
    items[:] = [item for item in items if item not in group]
    config.hook.pytest_deselected(items=group)
    config.stash[DESELECTED] = len(group)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if deselected := config.stash.get(DESELECTED, 0):
        terminalreporter.write_line(
            f"containers: {deselected} tests deselected, because Docker Compose or its engine does not answer"
        )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if DESELECTED in session.config.stash and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def answers(*command: str) -> bool:
    """Whether this `docker` command succeeds."""
    docker = which("docker")
    done = docker and subprocess.run([docker, *command], capture_output=True, check=False)
    return bool(done) and done.returncode == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ContainerShop]:
    with ContainerShop(tmp_path_factory.mktemp("compose")) as shop:
        for name in SERVICES:
            await eventually(lambda name=name: shop.is_ready(name), READY_SECONDS)
        await shop.sign_in()
        yield shop
