"""What every test may ask for: a broker of its own, and settings that disturb nobody."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.settings import settings_for

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A background job ignores Ctrl-C, and so would the programs that the tests start and interrupt."""

settings.register_profile(
    "quick", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("quick"), max_examples=5000)
settings.load_profile("quick")

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    """A running nats-server with an empty store."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.terminate()


@pytest.fixture
def broker_url(broker: NatsServer) -> str:
    return broker.url


@pytest.fixture
def shop_settings(tmp_path: Path, broker_url: str) -> ShopSettings:
    return settings_for(tmp_path, broker_url)
