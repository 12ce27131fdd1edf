"""Event logs to be replayed, and clients that ask for them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from msgspec.structs import replace

from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.replay_client import Page, ReplayClient
from shared.chassis.messages.cloudevents import stored
from shared.chassis.messages.received import Message
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime.service import Service
from shared.chassis.storage import event_log
from shared.contracts import CATALOG
from shared.settings import ShopSettings
from tests.support.eventually import eventually


async def record(service: Service, log: Sequence[RecordedEvent]) -> None:
    """Append events to the service's log as if it had decided them, without publishing them."""
    events = [stored(recorded) for recorded in log]
    await service.writer.run_in_transaction(partial(event_log.append, events=events))


@asynccontextmanager
async def asking(settings: ShopSettings, name: str = "read") -> AsyncIterator[ReplayClient]:
    """A client of the broker that asks for replays under this name."""
    broker = JetStreamConnection(name, settings)
    client = ReplayClient(name, broker, CATALOG)
    await broker.connect()
    try:
        yield client
    finally:
        await broker.close()


async def replayed(
    client: ReplayClient, owner: str, after: int = 0, until: int = 10**9, types: Sequence[str] = ()
) -> list[list[Message]]:
    """The messages of each page; events without their bodies, as a log contains them."""
    pages: list[list[Message]] = []

    async def deliver(page: Page) -> int:
        pages.append([_without_body(message) for message in page.messages])
        return page.through

    await client.replay(owner, deliver, after=after, until=until, types=types)
    return pages


def _without_body(message: Message) -> Message:
    return replace(message, body=None) if isinstance(message, RecordedEvent) else message


async def until_answered(client: ReplayClient, owner: str) -> int:
    """The end of the owner's log, once it answers."""

    async def ask() -> list[int]:
        return [await client.end_of(owner)]

    return (await eventually(ask, 20))[0]
