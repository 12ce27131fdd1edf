"""Event logs to be replayed, and clients that ask for them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace
from sqlalchemy import update

from shared.chassis.jetstream import stream_config
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.replay_client import Page, ReplayClient
from shared.chassis.messages.cloudevents import stored
from shared.chassis.messages.received import Message
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime.service import Service
from shared.chassis.storage import event_log
from shared.chassis.storage.event_log import EVENT_LOG
from shared.chassis.testing import START
from shared.contracts import CATALOG
from shared.settings import ShopSettings
from tests.support.chassis import Publisher
from tests.support.eventually import eventually

LONG_AGO = START - timedelta(days=365)


async def record(service: Service, log: Sequence[RecordedEvent]) -> None:
    """Append events to the service's log as if it had decided them, without publishing them."""
    events = [stored(recorded) for recorded in log]
    await service.writer.run_in_transaction(partial(event_log.append, events=events))


async def record_as_sent(
    service: Service, log: Sequence[RecordedEvent], recorded_at: datetime = LONG_AGO
) -> None:
    """The relay has published these events, so long ago that the stream need not contain them."""
    await eventually(lambda: service.waiting_for() == [], 20)
    await record(service, [replace(recorded, recorded_at=recorded_at) for recorded in log])
    sent = update(EVENT_LOG).values(stream_seq=1)
    await service.writer.run_in_transaction(lambda connection: connection.execute(sent))


async def create_stream(publisher: Publisher, settings: ShopSettings, first: int) -> None:
    """A stream whose events before this sequence have expired."""
    config = stream_config.target(settings).evolve(first_seq=first)
    await publisher.jetstream().add_stream(config)


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
