"""Runs this group where a Docker engine answers; elsewhere deselects it, and says so."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import closing

import pytest
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.image import DockerImage

from tests.containers.shop import ROOT, ContainerShop

MISSED = pytest.StashKey[int]()

# The fixtures take away what they start; the reaper would be one more image to fetch.
testcontainers_config.ryuk_disabled = True


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "containers: needs a Docker engine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    group = [item for item in items if item.get_closest_marker("containers")]
    if not group or engine_answers():
        return
    items[:] = [item for item in items if item not in group]
    config.hook.pytest_deselected(items=group)
    config.stash[MISSED] = len(group)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if missed := config.stash.get(MISSED, 0):
        terminalreporter.write_line(
            f"containers: {missed} tests deselected, because no Docker engine answers"
        )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if MISSED in session.config.stash and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def engine_answers() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        answers = ping()
        gc.collect()  # of a socket that could not connect, which docker-py leaves open
    return answers


def ping() -> bool:
    try:
        with closing(DockerClient(timeout=5).client) as client:
            return bool(client.ping())
    except DockerException:
        return False


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """Our image, built from this checkout; it stays, so that the next build finds its layers."""
    with DockerImage(path=ROOT, tag="quadrille:test", clean_up=False) as built:
        yield str(built)


@pytest.fixture(scope="module")
def shop(image: str) -> Iterator[ContainerShop]:
    """A shop whose carrier brings everything at once."""
    with ContainerShop(image, carrier_success_rate="1") as shop:
        yield shop


@pytest.fixture(scope="module")
def shop_without_luck(image: str) -> Iterator[ContainerShop]:
    """A shop whose carrier declines everything."""
    with ContainerShop(image, carrier_success_rate="0") as shop:
        yield shop
