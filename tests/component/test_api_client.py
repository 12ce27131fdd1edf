"""How the command line follows an event stream over a connection that breaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from quadrille.cli.api_client import Client
from quadrille.endpoints import ShopError
from shared.settings import ShopSettings

OK = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
UNAVAILABLE = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
NOT_FOUND = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n"


@pytest.fixture(autouse=True)
def guest(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@asynccontextmanager
async def stream_server(*responses: str) -> AsyncIterator[tuple[Client, list[str]]]:
    """A client of a server that sends one response per connection and closes it; and the requests' heads."""
    remaining = iter(responses)
    requests: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(next(remaining).encode())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Client(ShopSettings(read_api_port=port)), requests


async def data_of(client: Client, count: int, **options: bool) -> list[str]:
    """The data of the first events that have any."""
    data: list[str] = []
    stream = client.follow("read", "/events/stream", **options)
    async with asyncio.timeout(30), aclosing(stream) as events:
        async for event in events:
            if event.data:
                data.append(event.data)
            if len(data) == count:
                break
    return data


def body(*events: str) -> str:
    return f"{OK}\r\n" + "".join(f"{event}\n\n" for event in events)


async def test_stream_resumes_after_last_complete_event(capsys):
    cut_off = body("id: order:1", ": heartbeat", "id: order:2\ndata: a") + "id: order:3\ndata: b"
    async with stream_server(cut_off, body("id: order:3\ndata: b")) as (client, requests):
        assert await data_of(client, 2) == ["a", "b"]
    assert "last-event-id" not in requests[0]
    assert "last-event-id: order:2\r\n" in requests[1]
    assert all("accept: text/event-stream\r\n" in request for request in requests)


async def test_stream_survives_failing_service(capsys):
    responses = body("id: 1\ndata: a"), f"{UNAVAILABLE}\r\n", "", body("id: 2\ndata: b")
    async with stream_server(*responses) as (client, _):
        assert await data_of(client, 2) == ["a", "b"]
    assert capsys.readouterr().err == "lost the read API; reconnecting …\n"


async def test_stream_splits_lines_only_at_newlines():
    text = '{"name": "a\u2028b\u0085c\x0bd"}'
    async with stream_server(body(f"data: {text}")) as (client, _):
        assert await data_of(client, 1) == [text]


async def test_awaited_stream_may_not_exist_yet():
    responses = f"{NOT_FOUND}\r\n", body("data: a")
    async with stream_server(*responses) as (client, _):
        assert await data_of(client, 1, is_awaited=True) == ["a"]
    async with stream_server(f"{NOT_FOUND}\r\n") as (client, _):
        with pytest.raises(ShopError, match="answers 404"):
            await data_of(client, 1)


async def test_failing_service_at_start_is_an_error():
    async with stream_server(f"{UNAVAILABLE}\r\n") as (client, _):
        with pytest.raises(ShopError, match="answers 503"):
            await data_of(client, 1)
