"""A TCP proxy that can hold back either direction, change what the server sends, and add to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.ports import free_port


class TcpProxy:
    """Passes bytes on between clients and the server, while the gate of their direction is open."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.port = free_port()
        self.to_server = asyncio.Event()
        self.to_client = asyncio.Event()
        self.to_server.set()
        self.to_client.set()
        self.rewrite: Callable[[bytes], bytes] = bytes
        """Changes what goes to clients."""
        self._serving: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.create_task(self._serve(reader, writer)))

    def send(self, data: bytes) -> None:
        """Send this to every client, as if the server did."""
        for client in self._clients:
            client.write(data)

    async def close(self) -> None:
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._server_port)
        ways = [
            asyncio.create_task(_pass_on(reader, ours, self.to_server, bytes)),
            asyncio.create_task(_pass_on(theirs, writer, self.to_client, self.rewrite)),
        ]
        self._clients.add(writer)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(writer)
            for way in ways:
                way.cancel()
            for end in (ours, writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()


async def _pass_on(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    gate: asyncio.Event,
    rewrite: Callable[[bytes], bytes],
) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            await gate.wait()
            sink.write(rewrite(data))
            await sink.drain()


@asynccontextmanager
async def tcp_proxy(server_port: int) -> AsyncIterator[TcpProxy]:
    """A proxy in front of the server at this port."""
    proxy = TcpProxy(server_port)
    listening = await asyncio.start_server(proxy.connect, "127.0.0.1", proxy.port)
    try:
        yield proxy
    finally:
        listening.close()
        await proxy.close()
