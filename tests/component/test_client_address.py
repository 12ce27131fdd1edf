"""The address that rate limits use: the peer's, or behind a trusted proxy the client's."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.raw_http import Server, serving, until_listening
from tests.support.settings import settings_for

ECHO = "tests.support.echo_service"
UVICORN_TRUSTS_ALL = {"FORWARDED_ALLOW_IPS": "*"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    settings = settings_for(
        tmp_path_factory.mktemp("echo"),
        "nats://127.0.0.1:1",
        trusted_proxies="127.0.0.1, 192.0.2.0/24",
    )
    with serving(ECHO, settings.order_port, settings) as process:
        await until_listening(process)
        yield process


def seen(process: Server, *forwarded: str) -> dict[str, str]:
    """The client address and scheme that the process derives from the peer 127.0.0.1 and these headers."""
    headers = [("X-Forwarded-For", value) for value in forwarded]
    answer: dict[str, str] = process.ask(headers=[*headers, ("X-Forwarded-Proto", "https")]).json()
    return answer


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
async def test_forwarded_address_of_untrusted_peer_is_ignored(tmp_path: Path, trusted: str) -> None:
    settings = settings_for(tmp_path, "nats://127.0.0.1:1", trusted_proxies=trusted)
    with serving(ECHO, settings.order_port, settings, **UVICORN_TRUSTS_ALL) as process:
        await until_listening(process)
        assert seen(process, "203.0.113.9") == {"address": "127.0.0.1", "scheme": "http"}


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.7, 203.0.113.9, 192.0.2.1"], "203.0.113.9"),
        (["198.51.100.7", "203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["unknown"], "unknown"),
        (["x" * 500], "x" * 64),
    ],
)
def test_trusted_proxy_names_the_client(
    behind_proxy: Server, forwarded: list[str], address: str
) -> None:
    assert seen(behind_proxy, *forwarded) == {"address": address, "scheme": "https"}
