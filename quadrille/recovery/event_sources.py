"""Where a service's published events are: the stream, and the archive in the read API's database."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing
from datetime import datetime
from pathlib import Path

import nats.js.errors
from nats.aio.msg import Msg

from quadrille.recovery.database_files import open_read_only
from quadrille.recovery.event_pool import PooledEvent
from shared.chassis.errors import FatalError
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.stream_reader import read_messages
from shared.chassis.messages.catalog import Catalog, DecodeError
from shared.chassis.messages.cloudevents import decode_stored
from shared.chassis.messages.recorded_event import StoredEvent
from shared.chassis.messages.subjects import STREAM
from shared.chassis.settings import ChassisSettings

CONNECT_SECONDS = 10
AT_ONCE = 1000
ARCHIVED = "SELECT * FROM events"  # an archive of an earlier release has fewer columns


@contextlib.asynccontextmanager
async def connected(service: str, settings: ChassisSettings) -> AsyncGenerator[JetStreamConnection]:
    """As this service's user. Raises FatalError if the broker does not answer, or another process is the service."""
    broker = JetStreamConnection(service, settings)
    try:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await broker.connect()
        except TimeoutError as error:
            raise FatalError(
                f"{broker.explain()}: start the broker, and set QUADRILLE_NATS_URL to the URL of "
                f"its user {service}"
            ) from error
        try:
            await _refuse_if_running(broker, service)
            yield broker
        except BROKER_ERRORS as error:
            raise FatalError(broker.explain(error)) from error
    finally:
        await broker.close()


async def read_stream(
    broker: JetStreamConnection, service: str, subjects: Sequence[str], catalog: Catalog
) -> AsyncGenerator[list[PooledEvent]]:
    """The events of these subjects in the stream, in batches; messages that are no events are left out."""
    with contextlib.suppress(nats.js.errors.NotFoundError):  # there is no stream
        async with aclosing(read_messages(broker, service, subjects)) as batches:
            async for messages in batches:
                yield list(_pooled(messages, catalog))


def read_archive(file: Path) -> Iterator[list[PooledEvent]]:
    """The events in the archive of a read API's database. Raises FatalError."""
    try:
        with closing(open_read_only(file)) as reader:
            reader.row_factory = sqlite3.Row
            cursor = reader.execute(ARCHIVED)
            while rows := cursor.fetchmany(AT_ONCE):
                yield [PooledEvent(_archived(row), 0, is_in_archive=True) for row in rows]
    except sqlite3.Error as error:
        raise FatalError(f"{file} cannot be read: {error}") from error


async def _refuse_if_running(broker: JetStreamConnection, service: str) -> None:
    call = broker.jetstream().consumer_info(STREAM, service)
    with contextlib.suppress(nats.js.errors.NotFoundError):
        consumer = await broker.call(f"CONSUMER.INFO.{STREAM}.{service}", call)
        if consumer.num_waiting:
            raise FatalError(f"another process runs as {service}: stop it first")


def _pooled(messages: Sequence[Msg], catalog: Catalog) -> Iterator[PooledEvent]:
    for message in messages:
        with contextlib.suppress(DecodeError):
            stored = decode_stored(message.subject, message.data, catalog)
            sequence = message.metadata.sequence.stream
            yield PooledEvent(stored, sequence, is_in_archive=False)


def _archived(row: sqlite3.Row) -> StoredEvent:
    columns = dict(zip(row.keys(), row, strict=True))
    recorded_at = datetime.fromisoformat(columns.pop("recorded_at"))
    data = columns.pop("data").encode()
    return StoredEvent(**columns, recorded_at=recorded_at, data=data)
