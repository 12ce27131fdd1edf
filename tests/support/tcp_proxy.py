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
        serving = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    def send(self, data: bytes) -> None:
        """Send this to every client, as if the server did."""
        for client in self._clients:
            client.write(data)

    async def close(self) -> None:
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:  # as without a proxy, the client's attempt fails
            writer.close()
            return
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
    """A proxy in front of the server at this port, on the port that it has drawn."""
    proxy = TcpProxy(server_port)
    async with serving(proxy):
        yield proxy


@asynccontextmanager
async def serving(proxy: TcpProxy) -> AsyncIterator[None]:
    listening = await asyncio.start_server(proxy.connect, "127.0.0.1", proxy.port)
    try:
        yield
    finally:
        listening.close()
        await proxy.close()
