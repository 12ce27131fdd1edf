"""A minimal NATS client that learns of every command whether the server permits it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class RefusedError(Exception):
    """The server rejects this user."""


class RawClient:
    """One connection in verbose mode, where the server answers +OK or -ERR to each command."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def sign_in(self, **credentials: str | None) -> None:
        await self._reader.readline()  # INFO
        options = {"verbose": True, "pedantic": False, "headers": True, **credentials}
        answers = await self._send(f"CONNECT {json.dumps(options)}")
        if "+OK" not in answers:
            raise RefusedError(answers)

    async def may_publish(self, subject: str, body: str = "", reply: str = "") -> bool:
        return "+OK" in await self._send(f"PUB {subject} {reply} {len(body)}\r\n{body}")

    async def may_subscribe(self, subject: str) -> bool:
        return "+OK" in await self._send(f"SUB {subject} 1")

    async def _send(self, command: str) -> list[str]:
        """The answers to a command, up to that of a PING."""
        self._writer.write(f"{command}\r\nPING\r\n".encode())
        answers = []
        while line := (await self._reader.readline()).decode().strip():
            if line == "PONG":
                break
            answers.append(line)
        return answers


@asynccontextmanager
async def raw_client(url: str) -> AsyncIterator[RawClient]:
    """Signed in with the URL's user and password, if it has them. Raises RefusedError."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        client = RawClient(reader, writer)
        named = {"user": parts.username, "pass": parts.password} if parts.username else {}
        await client.sign_in(**named)
        yield client
    finally:
        writer.close()
        await writer.wait_closed()
