"""Connections that wait in the kernel's queue while the process is full."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from shared.chassis.http.admission import Admission
from tests.support.eventually import eventually
from tests.support.raw_http import HOST, READ_SECONDS

SPARE = 100
GET = b"GET /orders HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /orders HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\n"
WHOLE = [GET, POST + b"{ }\n"]
SERVED = [b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n", GET[:-2], POST + b"{", b""]
"""Health is always served, and the event loop waits for what is incomplete."""


class Opened(asyncio.Protocol):
    """Counts the connections that get a protocol."""

    number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).number += 1
        transport.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=2 * SPARE) as listening:
        yield listening


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> type[Opened]:
    monkeypatch.setattr(Opened, "number", 0)
    return Opened


def client(listening: socket.socket, request: bytes) -> socket.socket:
    connection = socket.create_connection(listening.getsockname())
    connection.settimeout(READ_SECONDS)
    connection.sendall(request)
    return connection


def full(listening: socket.socket) -> Admission:
    admission = Admission(1, listening, SPARE)
    assert admission.admit(asyncio.Protocol())
    return admission


@pytest.mark.parametrize("request_", WHOLE)
async def test_waiting_requests_are_refused_at_once(
    listening: socket.socket, opened: type[Opened], request_: bytes
):
    clients = [client(listening, request_) for _ in range(2 * SPARE)]
    full(listening).accept_waiting(opened, 1)
    for refused in clients:
        assert refused.recv(1024).startswith(b"HTTP/1.1 503 ")
        refused.close()
    assert opened.number == 0


@pytest.mark.parametrize("request_", SERVED)
async def test_health_and_incomplete_requests_are_not_refused(
    listening: socket.socket, opened: type[Opened], request_: bytes
):
    with client(listening, request_):
        full(listening).accept_waiting(opened, 1)
        await eventually(lambda: opened.number == 1)


async def test_disconnected_client_is_dropped(listening: socket.socket, opened: type[Opened]):
    client(listening, b"").close()
    admission = full(listening)
    admission.accept_waiting(opened, 1)
    with client(listening, SERVED[0]):
        admission.accept_waiting(opened, 1)
        await eventually(lambda: opened.number == 1)


async def test_place_is_free_after_leaving(listening: socket.socket, opened: type[Opened]):
    admission = Admission(1, listening, SPARE)
    served, other = asyncio.Protocol(), asyncio.Protocol()
    assert admission.admit(served)
    assert not admission.admit(other)
    admission.leave(served)
    with client(listening, GET):
        admission.accept_waiting(opened, 0)
        await eventually(lambda: opened.number == 1)
    assert admission.admit(other)


async def test_open_connections_are_bounded(listening: socket.socket, opened: type[Opened]):
    clients = [client(listening, b"") for _ in range(SPARE)]
    full(listening).accept_waiting(opened, 1)
    await eventually(lambda: opened.number == SPARE // 2)
    for waiting in clients:
        waiting.close()
