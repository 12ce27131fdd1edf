"""A carrier over HTTP in the test's own process, on a real socket: takes bookings, and misbehaves as the test sets it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class FakeCarrier:
    """Books once for each Idempotency-Key, at `/bookings`."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[Asked] = []
        self.bookings: dict[str, str] = {}
        """Our reference for each shipment that is to be brought."""
        self.withdrawn: list[str] = []
        self.troubles: list[int | None] = []
        """How the next requests are answered without being understood, in turn; None is not at all."""
        self.lost_answers = 0
        """This number of the next requests is executed, and the connection is cut."""
        self.open = asyncio.Event()
        self.open.set()
        """Cleared, bookings wait to be understood until it is set."""
        self.confirmation: bytes | None = None
        """Sent instead of the reference."""
        self._conversations: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/bookings"

    def asks(self, method: str) -> list[Asked]:
        """The requests of one kind."""
        return [request for request in self.asked if request.method == method]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["FakeCarrier"]:
        """Listens on a port of its own."""
        server = await asyncio.start_server(self._converse, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for conversation in self._conversations:
                conversation.cancel()
            await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                answer = await self._respond(await _request(reader))
                if answer:
                    writer.write(answer)
                    await writer.drain()
        finally:
            writer.close()

    async def _respond(self, asked: Asked) -> bytes | None:
        self.asked.append(asked)
        if self.troubles:
            trouble = self.troubles.pop(0)
            if trouble is None:
                await asyncio.sleep(60)
            return _response(trouble or 504)
        if asked.method == "POST":
            await self.open.wait()
            answer = self._book(asked)
        else:
            answer = self._withdraw(asked)
        if self.lost_answers:
            self.lost_answers -= 1
            return None
        return answer

    def _book(self, asked: Asked) -> bytes:
        shipment_id = asked.headers["idempotency-key"]
        reference = f"R-{len(self.bookings) + 1}"
        if shipment_id not in self.withdrawn:
            reference = self.bookings.setdefault(shipment_id, reference)
        confirmation = msgspec.json.encode({"reference": reference})
        return _response(201, self.confirmation or confirmation)

    def _withdraw(self, asked: Asked) -> bytes:
        shipment_id = asked.path.rpartition("/")[2]
        if shipment_id not in self.bookings:
            return _response(404)
        del self.bookings[shipment_id]
        self.withdrawn.append(shipment_id)
        return _response(204)


async def _request(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    method, path, _ = first.split()
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, body)


def _response(status: int, body: bytes = b"") -> bytes:
    length = "" if status == 204 else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status} -\r\n{length}Connection: close\r\n\r\n".encode() + body
