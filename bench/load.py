"""A cheap HTTP/1.1 client: it sends prepared bytes over keep-alive connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


class Unexpected(Exception):
    """The response has another status than the expected one."""


class Connection(asyncio.Protocol):
    """One keep-alive connection, for one request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._response: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    async def ask(self, request: bytes, status: bytes = b"200") -> bytes:
        """The response's body. Raises Unexpected."""
        answer = await self.exchange(request)
        head, _, body = answer.partition(HEAD_END)
        if not head.startswith(b"HTTP/1.1 " + status):
            raise Unexpected(answer.decode())
        return body

    async def exchange(self, request: bytes) -> bytes:
        """The whole response. Raises OSError if the connection is closed instead."""
        assert self._transport
        self._response = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._response

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect until the response is complete."""
        self._received += data
        head_length = self._received.find(HEAD_END)
        if head_length < 0 or self._response is None:
            return
        head = self._received[:head_length].lower()
        length = int(head.partition(LENGTH)[2].partition(b"\r\n")[0])
        if len(self._received) >= head_length + len(HEAD_END) + length:
            self._response.set_result(self._received)
            self._received = b""

    def connection_lost(self, error: Exception | None) -> None:
        if self._response and not self._response.done():
            self._response.set_exception(error or ConnectionResetError())


async def connect(port: int) -> Connection:
    """A connection to a service on this machine."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection


def get(path: str, token: str = "") -> bytes:
    return _head("GET", path, token) + b"\r\n"


def post(path: str, content: object, token: str = "") -> bytes:
    """The request may be sent any number of times."""
    body = json.dumps(content).encode()
    return _head("POST", path, token) + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def _head(method: str, path: str, token: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    return (head + f"Authorization: Bearer {token}\r\n" if token else head).encode()


async def listen(port: int, request: bytes) -> AsyncIterator[dict[str, Any]]:
    """The JSON of every server-sent event."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async for line in reader:
            if line.startswith(b"data:"):
                yield json.loads(line.removeprefix(b"data:"))
    finally:
        writer.close()
