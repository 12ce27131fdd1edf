"""The read API for tests: its projector on a real SQLite file, or the whole process."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
from sqlalchemy import Connection

from read_api import event_archive
from read_api.event_stream import Feed, Streams
from read_api.rebuild import TABLES, VERSIONS
from read_api.store import CHECKPOINTS, PROJECTIONS
from read_api.tables import METADATA
from shared.chassis.engine.projector import Projector
from shared.chassis.http import signing_keys
from shared.chassis.http.auth import PublicKeys
from shared.chassis.storage.database import (
    CHASSIS_METADATA,
    Database,
    database_url,
    open_for_reading,
    open_for_writing,
    read_rows,
)
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.chassis.storage.migrations import migrate
from shared.chassis.storage.reader import Reader
from shared.settings import ShopSettings
from tests.support.access import Issuer
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.settings import environment_of

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 10
READ_SECONDS = 30
TIMEOUT_SECONDS = 30

Rows = dict[str, list[dict[str, Any]]]


class Projection(NamedTuple):
    """A projector at work on its database, and the streams of what it applies."""

    projector: Projector
    feed: Feed
    streams: Streams
    database: Database
    reader: Reader

    async def rows(self) -> Rows:
        """Every row that events amount to."""
        return await self.database.run(rows_of)

    async def letters(self) -> list[tuple[str | None, str]]:
        """The dead letters: type of event and status."""
        rows = await self.database.run(lambda connection: read_rows(connection, DEAD_LETTER))
        return [(row["event_type"], row["status"]) for row in rows]


@asynccontextmanager
async def projecting(
    path: Path | None = None,
    *,
    tail: int = 4096,
    projections: Sequence[Any] = PROJECTIONS,
) -> AsyncIterator[Projection]:
    """A projection on the file, resumed where it stands; without one in memory, where the reader sees nothing."""
    url = f"sqlite:///{path}" if path else "sqlite://"
    database, reads, reader = open_for_writing(url), open_for_reading(url), Reader(url)
    feed = Feed(tail)
    projector = Projector(
        database,
        projections,
        CHECKPOINTS,
        hooks=(event_archive.hook,),
        on_applied=feed.publish,
    )
    await database.run(CHASSIS_METADATA.create_all)
    await database.run(METADATA.create_all)
    await projector.resume()
    running = asyncio.create_task(projector.writer.run())
    try:
        yield Projection(
            projector, feed, Streams(feed, reader, PublicKeys(reads)), database, reader
        )
    finally:
        projector.writer.stop()
        await running
        await reader.close()
        await reads.close()
        await database.close()


class ReadApi:
    """The process, which tests may stop and start again, and clients of it."""

    def __init__(self, settings: ShopSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.issuer = Issuer()
        self.admin = self.issuer.headers("admin", "admin")
        self.url = f"http://127.0.0.1:{settings.read_api_port}"

    def start(self) -> None:
        """Start it; it may need a moment. It has received the issuer's key already."""
        database = open_for_writing(database_url("read", self._settings))
        database._transact(self._trust)
        database._engine.dispose()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "read_api"], cwd=ROOT, env=environment_of(self._settings)
        )

    def stop(self) -> int:
        """Ask it to stop; returns its exit code."""
        assert self._process
        self._process.terminate()
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it as by `kill -9`, if it runs."""
        if self._process:
            self._process.kill()
            self._process.wait()

    async def get(self, path: str, **query: Any) -> Any:
        response = await self.ask(path, **query)
        assert response.status_code == 200, response.text
        return response.json()

    async def ask(
        self, path: str, by: dict[str, str] | None = None, **query: Any
    ) -> httpx.Response:
        """The answer at `path`, whatever it is, to the bearer of these headers; to an admin by default."""
        headers = self.admin if by is None else by
        async with httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=READ_SECONDS
        ) as client:
            return await client.get(path, params=query or None)

    async def post(self, path: str) -> httpx.Response:
        """The answer to an admin's POST without a body."""
        async with httpx.AsyncClient(
            base_url=self.url, headers=self.admin, timeout=READ_SECONDS
        ) as client:
            return await client.post(path)

    async def delete(self, path: str) -> httpx.Response:
        """The answer to an admin's DELETE."""
        async with httpx.AsyncClient(
            base_url=self.url, headers=self.admin, timeout=READ_SECONDS
        ) as client:
            return await client.delete(path)

    def customer(self, user_id: str) -> dict[str, str]:
        """The headers of somebody who has signed in."""
        return self.issuer.headers(user_id)

    async def until(self, path: str, check: Callable[[Any], Any], **query: Any) -> Any:
        """The document at `path` as soon as it passes the check."""

        async def look() -> Any:
            with suppress(httpx.TransportError):
                answer = (await self.ask(path, **query)).json()
                return answer if check(answer) else None

        return await eventually(look, TIMEOUT_SECONDS)

    async def until_ready(self) -> None:
        await self.until("/health/ready", lambda answer: answer.get("status") == "ready")

    @asynccontextmanager
    async def stream(
        self, path: str, last_event_id: str | None = None, by: dict[str, str] | None = None
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The messages of a stream, each with its fields, the opening one first."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        headers |= self.admin if by is None else by
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=READ_SECONDS) as client,
            client.stream("GET", path, headers=headers) as response,
        ):
            assert response.headers["content-type"].startswith("text/event-stream")
            yield _messages(response)

    async def status_of_stream(self, path: str, by: dict[str, str], **query: Any) -> int:
        """How a stream is answered; nothing of it is read."""
        async with (
            httpx.AsyncClient(base_url=self.url, headers=by, timeout=READ_SECONDS) as client,
            client.stream("GET", path, params=query) as response,
        ):
            return response.status_code

    async def read_stream(self, path: str, by: dict[str, str], number: int) -> list[dict[str, Any]]:
        """The first `number` events of a stream."""
        async with self.stream(path, by=by) as messages:
            await anext(messages)
            return [await anext(messages) for _ in range(number)]

    async def read(self, last_id: str, number: int) -> tuple[list[dict[str, Any]], str]:
        """The next `number` events of the whole stream after `last_id`, and the last one's id."""
        read: list[dict[str, Any]] = []
        async with self.stream("/events/stream", last_id) as messages:
            while len(read) < number:
                message = await anext(messages)
                if "data" in message:
                    read.append(message)
        return read, read[-1]["id"]

    def rows(self) -> Rows:
        """Every row that events amount to; not while it runs."""
        database = open_for_reading(database_url("read", self._settings))
        return database._transact(rows_of)

    def _trust(self, connection: Connection) -> None:
        migrate(connection, "read", METADATA, TABLES, VERSIONS)
        signing_keys.keep(connection, "read", [recorded(self.issuer.published)])

    def delete_database(self) -> None:
        """As if it had never run."""
        for file in self._settings.data_dir.glob("read.db*"):
            file.unlink()


@contextmanager
def read_api(settings: ShopSettings) -> Iterator[ReadApi]:
    process = ReadApi(settings)
    process.start()
    try:
        yield process
    finally:
        process.kill()


def rows_of(connection: Connection) -> Rows:
    return {
        table.name: sorted(read_rows(connection, table), key=msgspec.json.encode)
        for table in METADATA.sorted_tables
    }


async def _messages(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    fields: dict[str, Any] = {}
    async for line in response.aiter_lines():
        if not line and fields:
            yield fields
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = msgspec.json.decode(value) if name == "data" else value


def places(messages: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """The positions in these messages, by source."""
    positions: dict[str, list[int]] = {}
    for message in messages:
        if data := message.get("data"):
            positions.setdefault(data["source"], []).append(data["position"])
    return positions
