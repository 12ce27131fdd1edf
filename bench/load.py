"""HTTP/1.1 as cheaply as Python can: prepared bytes over connections that stay open."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


class Unexpected(Exception):
    """The answer has another status than the one that was counted on."""


class Connection(asyncio.Protocol):
    """One keep-alive connection: a request at a time, answers as bytes."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    async def ask(self, request: bytes, status: bytes = b"200") -> bytes:
        """The answer's body; raises Unexpected when its status is another."""
        assert self._transport
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        answer = await self._answer
        head, _, body = answer.partition(HEAD_END)
        if not head.startswith(b"HTTP/1.1 " + status):
            raise Unexpected(answer.decode())
        return body

    def close(self) -> None:
        """Hang up."""
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to ask."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole."""
        self._received += data
        head_length = self._received.find(HEAD_END)
        if head_length < 0 or self._answer is None:
            return
        head = self._received[:head_length].lower()
        length = int(head.partition(LENGTH)[2].partition(b"\r\n")[0])
        if len(self._received) >= head_length + len(HEAD_END) + length:
            self._answer.set_result(self._received)
            self._received = b""

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody will answer any more."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())


async def connect(port: int) -> Connection:
    """A connection to a service of this machine."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection


def get(path: str, token: str = "") -> bytes:
    """A request, ready to be sent."""
    return _head("GET", path, token) + b"\r\n"


def post(path: str, content: object, token: str = "") -> bytes:
    """A request with a JSON body, ready to be sent as often as one likes."""
    body = json.dumps(content).encode()
    return _head("POST", path, token) + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def _head(method: str, path: str, token: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    return (head + f"Authorization: Bearer {token}\r\n" if token else head).encode()


async def listen(port: int, request: bytes) -> AsyncIterator[dict[str, Any]]:
    """The JSON of every server-sent event, as it comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async for line in reader:
            if line.startswith(b"data:"):
                yield json.loads(line.removeprefix(b"data:"))
    finally:
        writer.close()
