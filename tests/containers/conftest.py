"""Runs these tests if a Docker engine answers; otherwise deselects them and reports it."""

import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
import pytest_asyncio
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.image import DockerImage

from tests.containers.shop import ROOT, ContainerShop

DESELECTED = pytest.StashKey[int]()

# The fixtures remove what they start, so the reaper's image is not needed.
testcontainers_config.ryuk_disabled = True


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "containers: needs a Docker engine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    group = [item for item in items if item.get_closest_marker("containers")]
    if not group or engine_answers():
        return
    items[:] = [item for item in items if item not in group]
    config.hook.pytest_deselected(items=group)
    config.stash[DESELECTED] = len(group)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if deselected := config.stash.get(DESELECTED, 0):
        terminalreporter.write_line(
            f"containers: {deselected} tests deselected, because no Docker engine answers"
        )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if DESELECTED in session.config.stash and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def engine_answers() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        answers = ping()
        gc.collect()  # closes the socket that docker-py leaves open when it cannot connect
    return answers


def ping() -> bool:
    try:
        with closing(DockerClient(timeout=5).client) as client:
            return bool(client.ping())
    except DockerException:
        return False


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """Our image, built from this checkout; it is kept, so that the next build reuses its layers."""
    with DockerImage(path=ROOT, tag="quadrille:test", clean_up=False) as built:
        yield str(built)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(image: str) -> AsyncIterator[ContainerShop]:
    with ContainerShop(image) as shop:
        await shop.sign_in()
        yield shop
