"""Reads what the stream contains, from its first message to its last, beside the service's durable."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import nats.js.errors
from nats.aio.msg import Msg
from nats.js import api

from shared.chassis.jetstream.connection import API_TIMEOUT_SECONDS, JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.pull_consumer import PullConsumer
from shared.chassis.messages.subjects import STREAM, everything_of
from shared.chassis.storage.event_log import event_id_of

INACTIVE_SECONDS = 30
"""After this time the broker removes the consumer of a process that was killed."""


def audit_consumer(source: str) -> str:
    """The name of the consumer that reads all events of this service."""
    return f"{source}-audit"


async def stored_ids(
    connection: JetStreamConnection, source: str
) -> AsyncGenerator[list[str], None]:
    """The ids of all events of `source` in the stream, in its order, in batches. Raises as `read_messages` does."""
    reading = read_messages(connection, source, [everything_of(source)], headers_only=True)
    async with aclosing(reading) as batches:
        async for messages in batches:
            headers = [message.headers or {} for message in messages]
            yield [event_id_of(header.get("Nats-Msg-Id", "")) for header in headers]


async def read_messages(
    connection: JetStreamConnection,
    source: str,
    subjects: Sequence[str],
    *,
    headers_only: bool = False,
) -> AsyncGenerator[list[Msg], None]:
    """All messages with these subjects, in the stream's order, in batches.

    Raises TimeoutError when the broker answers no more: then these were not all.
    """
    name = audit_consumer(source)
    jetstream = connection.jetstream()
    config = api.ConsumerConfig(
        name=name,
        filter_subjects=list(subjects),
        ack_policy=api.AckPolicy.NONE,
        headers_only=headers_only or None,
        mem_storage=True,
        inactive_threshold=INACTIVE_SECONDS,
    )
    await _delete(connection, name)  # a killed process may have left it in the middle of the stream
    call = jetstream.add_consumer(STREAM, config)
    await connection.call(f"CONSUMER.CREATE.{STREAM}.{name}", call)
    pull = PullConsumer(connection.client, STREAM, name, stops_at_end=True)
    await pull.open()
    try:
        while True:
            messages = await pull.fetch(API_TIMEOUT_SECONDS)
            if messages:
                yield messages
            elif pull.is_at_end:
                return
            else:
                raise TimeoutError
    finally:
        with contextlib.suppress(*BROKER_ERRORS):
            await pull.close()
            await _delete(connection, name)


async def _delete(connection: JetStreamConnection, name: str) -> None:
    call = connection.jetstream().delete_consumer(STREAM, name)
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await connection.call(f"CONSUMER.DELETE.{STREAM}.{name}", call)
