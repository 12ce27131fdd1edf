"""The services that only receive keys and token versions, over HTTP in this process, and a publisher of these events."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any

import httpx
from litestar import Litestar
from sqlalchemy import Engine, event

import inventory_service.app
import notifier_service.app
import read_api.app
import shipping_service.app
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.messages.event import Event
from shared.settings import ShopSettings
from tests.support.chassis import started
from tests.support.history import recorded

Build = Callable[[ShopSettings], Litestar]
Headers = dict[str, str]

ROUTES: dict[str, tuple[Build, str]] = {
    "inventory": (inventory_service.app.build, "/reservations/o1"),
    "shipping": (shipping_service.app.build, "/carriers/simulated"),
    "notifier": (notifier_service.app.build, "/notifications"),
    "read": (read_api.app.build, "/customers"),
}
"""Each service that only receives keys, and a route that only an admin may use."""


class Running:
    """A service in this process, over HTTP."""

    def __init__(self, http: httpx.AsyncClient, path: str) -> None:
        self.http = http
        self._path = path

    async def status(self, headers: Headers) -> int:
        return (await self.http.get(self._path, headers=headers)).status_code

    async def accepts(self, headers: Headers) -> bool:
        return await self.status(headers) in {200, 404}

    async def refuses(self, headers: Headers) -> bool:
        return await self.status(headers) == 401

    async def warnings(self) -> list[str]:
        answer = await self.http.get("/health/ready")
        assert answer.status_code == 200, answer.text
        reasons: list[str] = answer.json()["warnings"]
        return reasons


@asynccontextmanager
async def running(name: str, settings: ShopSettings) -> AsyncIterator[Running]:
    build, path = ROUTES[name]
    async with started(build(settings)) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{name}") as http:
            yield Running(http, path)


class Publisher:
    """Publishes as the order service, or as a forger."""

    def __init__(self, broker: JetStreamConnection) -> None:
        self._broker = broker
        self._positions = count(1)

    async def publish(self, *events: Event) -> None:
        await self._broker.publish(
            [recorded(one, position=next(self._positions)) for one in events]
        )


@contextmanager
def reads_of(table: str) -> Iterator[list[str]]:
    """The queries of the table in this block."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if f"FROM {table}" in statement:
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)
