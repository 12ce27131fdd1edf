"""A pull consumer on a real nats-server: no loss, no repetition, and the server's errors are raised."""

from collections.abc import AsyncIterator

import nats
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import api

from shared.chassis.jetstream.pull_consumer import MAX_AT_ONCE, PullConsumer
from tests.support.broker import NatsServer

STREAM = "SHOP"
DURABLE = "listener"


@pytest.fixture
async def client(broker: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(broker.url)
    stream = client.jetstream()
    await stream.add_stream(name=STREAM, subjects=["shop.>"])
    await stream.add_consumer(STREAM, api.ConsumerConfig(durable_name=DURABLE))
    yield client
    await client.close()


@pytest.fixture
async def pull(client: Client) -> PullConsumer:
    pull = PullConsumer(client, STREAM, DURABLE)
    await pull.open()
    return pull


async def publish(client: Client, numbers: range) -> None:
    for number in numbers:
        await client.jetstream().publish("shop.number", str(number).encode())


async def fetch(pull: PullConsumer, count: int) -> list[int]:
    messages: list[Msg] = []
    while len(messages) < count:
        messages += await pull.fetch(5)
    for message in messages:
        await message.ack()
    return [int(message.data) for message in messages]


async def test_messages_beyond_one_request_arrive_in_order(
    client: Client, pull: PullConsumer
) -> None:
    count = 2 * MAX_AT_ONCE + 1
    await publish(client, range(count))
    assert await fetch(pull, count) == list(range(count))


async def test_open_request_receives_later_messages(client: Client, pull: PullConsumer) -> None:
    assert await pull.fetch(0.05) == []
    await publish(client, range(3))
    assert await fetch(pull, 3) == [0, 1, 2]


async def test_messages_of_closed_pull_are_redelivered(client: Client, pull: PullConsumer) -> None:
    await publish(client, range(2))
    await pull.fetch(5)
    await pull.close()
    await client.jetstream().reset_consumer(STREAM, DURABLE, seq=1)
    another = PullConsumer(client, STREAM, DURABLE)
    await another.open()
    assert await fetch(another, 2) == [0, 1]


async def test_missing_consumer_is_an_error(client: Client) -> None:
    pull = PullConsumer(client, STREAM, "nobody")
    await pull.open()
    with pytest.raises(nats.js.errors.APIError):
        await pull.fetch(5)


async def test_consumer_deleted_during_fetch_is_an_error(
    client: Client, pull: PullConsumer
) -> None:
    assert await pull.fetch(0.05) == []
    await client.jetstream().delete_consumer(STREAM, DURABLE)
    with pytest.raises(nats.js.errors.APIError):
        await pull.fetch(5)


async def test_publisher_status_header_is_not_a_server_status(
    client: Client, pull: PullConsumer
) -> None:
    await client.jetstream().publish("shop.number", b"7", headers={"Status": "503"})
    assert await fetch(pull, 1) == [7]
