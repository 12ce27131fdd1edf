"""Requests that are too large, too slow or too many, sent over raw sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from http.client import HTTPConnection
from itertools import repeat
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from shared.chassis.http.protocol import MAX_HEAD_BYTES
from tests.support.eventually import eventually
from tests.support.raw_http import HOST, READ_SECONDS, Server, read_to_end, serving, until_listening
from tests.support.settings import settings_for

TIMEOUT_SECONDS = 1
LONGER_SECONDS = 1.5
MIB = 1024 * 1024
FLOOD_BYTES = 32 * MIB
CUT_OFF_BYTES = 16 * MIB
"""The kernel buffers some bytes on both sides before the sender notices that the connection is closed."""
GET = b"GET / HTTP/1.1\r\n" + HOST
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"

FLOODS = {
    "header lines": (GET, b"a: b\r\n" * 10_000),
    "one header": (GET + b"a: ", b"b" * 65536),
    "url": (b"GET /", b"x" * 65536),
    "empty lines": (b"", b"\r\n" * 30_000),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000),
    "one trailer": (CHUNKED + b"0\r\na: ", b"b" * 65536),
    "chunk extension": (CHUNKED + b"1;", b"x" * 65536),
}
"""The start of each request, and the part that is repeated after it."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    settings = settings_for(
        tmp_path_factory.mktemp("echo"),
        "nats://127.0.0.1:1",
        request_head_timeout_seconds=TIMEOUT_SECONDS,
        request_body_timeout_seconds=TIMEOUT_SECONDS,
    )
    with serving("tests.support.echo_service", settings.order_port, settings) as process:
        await until_listening(process)
        yield process


def flood(begin: bytes, part: bytes) -> Iterator[bytes]:
    yield begin
    yield from repeat(part, FLOOD_BYTES // len(part))


def problem_in(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\ncontent-type: application/problem+json" in head
    assert b"\r\nconnection: close" in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["type"].startswith("urn:quadrille:problem:")


@pytest.mark.parametrize("kind", FLOODS)
def test_endless_head_is_cut_off_early(server: Server, kind: str) -> None:
    before = server.memory_bytes()
    assert server.send_until_refused(flood(*FLOODS[kind])) < CUT_OFF_BYTES
    assert server.ask().is_success
    assert server.memory_bytes() - before < 32 * MIB


@pytest.mark.parametrize(
    "head",
    [
        GET + b"a: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    ],
)
def test_head_over_limit_is_answered_431(server: Server, head: bytes) -> None:
    problem_in(server.answer_to(head), 431)


def test_head_under_limit_is_served(server: Server) -> None:
    assert server.ask(headers={"a": "b" * (MAX_HEAD_BYTES - 1000)}).is_success


def test_request_that_is_not_http_is_answered_400(server: Server) -> None:
    problem_in(server.answer_to(b"HELLO\r\n\r\n"), 400)


@pytest.mark.parametrize(
    "begin",
    [
        GET,
        b"G",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12",
        CHUNKED,
        CHUNKED + b"5\r\n12",
        CHUNKED + b"0\r\na: b\r\n",
    ],
)
def test_unfinished_request_is_answered_408(server: Server, begin: bytes) -> None:
    problem_in(server.answer_to(begin), 408)


@pytest.mark.parametrize("begin", [b"", b"\r\n"])
def test_silent_connection_is_closed(server: Server, begin: bytes) -> None:
    assert server.answer_to(begin) == b""


@pytest.mark.parametrize("rest", [b"\r\n", GET])
def test_partial_request_after_a_request_times_out(server: Server, rest: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(GET + b"\r\n")
        received = b""
        while not received.endswith(b"}"):
            received += connection.recv(65536)
        connection.sendall(rest)
        read_to_end(connection)


def test_requests_in_one_packet_are_all_answered(server: Server) -> None:
    last = b"GET / HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    assert server.answer_to((GET + b"\r\n") * 20 + last).count(b"HTTP/1.1 200 OK") == 21


async def test_idle_connection_outlives_the_timeouts(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=READ_SECONDS)
    for pause in (LONGER_SECONDS, 0):
        connection.request("GET", "/")
        assert connection.getresponse().read()
        await asyncio.sleep(pause)
    connection.close()


async def test_stream_outlives_the_timeouts(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
        await asyncio.sleep(LONGER_SECONDS)
        while connection.recv(65536).count(b"tick") > 5:
            pass  # what had come before
        assert b"tick" in connection.recv(65536)


@pytest.mark.parametrize("parts", [[b"x" * 900_000], iter([b"x" * 450_000] * 2)])
def test_body_under_limit_is_read(server: Server, parts: Iterable[bytes]) -> None:
    """The list is sent with its length, the iterator in chunks."""
    content = b"".join(parts) if isinstance(parts, list) else parts
    assert server.ask("POST", content=content).json() == {"bytes": 900_000}


async def test_requests_over_connection_limit_get_503(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "nats://127.0.0.1:1", max_connections=2)
    with serving("quadrille.mailbox", settings.mailbox_port, settings) as mailbox:
        await until_listening(mailbox)
        connections = [mailbox.connect() for _ in range(2)]
        for connection in connections:
            connection.sendall(GET)  # so that the server counts both
        for refused in (mailbox.ask(), mailbox.ask("POST", content=b"x" * 900_000)):
            assert refused.status_code == 503
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert refused.headers["Retry-After"] == "1"
        assert mailbox.ask(path="/health/live").is_success, "it is overloaded, not dead"
        for connection in connections:
            connection.sendall(b"Connection: close\r\n\r\n")
            assert read_to_end(connection).startswith(b"HTTP/1.1 200 "), "it came first"
            connection.close()
        await eventually(lambda: mailbox.ask().is_success)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{settings.mailbox_port}",
            limits=httpx.Limits(max_connections=2),
        ) as client:
            answers = await asyncio.gather(*(client.get("/health/live") for _ in range(200)))
        assert {answer.status_code for answer in answers} == {200}, "the limit itself is allowed"
