"""Messages a second out of the stream through one durable: our pull, and nats-py's `fetch`.

Both take what there is, at most as many at once, and acknowledge every message.
"""

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import api

from bench.processes import running_broker
from bench.table import show, show_machine
from shared.chassis.jetstream.pull_consumer import MAX_AT_ONCE, PullConsumer

STREAM = "BENCH"
MESSAGES = 10_000
BODY = b"x" * 500
ROUNDS = 3
"""By turns; the fastest counts, for others use the machine too."""

Fetch = Callable[[], Awaitable[list[Msg]]]


async def main() -> None:
    """Measure, and print."""
    show_machine()
    with tempfile.TemporaryDirectory() as directory, running_broker(Path(directory)) as server:
        client = await nats.connect(server.url)
        await _fill(client)
        rounds = [
            [
                await _measure(await _our_pull(client, f"ours{number}")),
                await _measure(await _their_fetch(client, f"theirs{number}")),
            ]
            for number in range(ROUNDS)
        ]
        await client.close()
    best = [min(measured) for measured in zip(*rounds, strict=True)]
    show(
        f"{MESSAGES} messages of {len(BODY)} bytes, {MAX_AT_ONCE} at once",
        ["way", "messages/s", "client CPU µs/message"],
        [
            [way, MESSAGES / wall, 1e6 * cpu / MESSAGES]
            for way, (wall, cpu) in zip(
                ("PullConsumer.fetch", "nats-py's fetch"), best, strict=True
            )
        ],
    )


async def _fill(client: Client) -> None:
    stream = client.jetstream()
    await stream.add_stream(name=STREAM, subjects=["bench"])
    for _ in range(MESSAGES):
        await client.publish("bench", BODY)
    while (await stream.stream_info(STREAM)).state.messages < MESSAGES:
        pass


async def _our_pull(client: Client, durable: str) -> Fetch:
    await _add_consumer(client, durable)
    pull = PullConsumer(client, STREAM, durable)
    await pull.open()
    return lambda: pull.fetch(5)


async def _their_fetch(client: Client, durable: str) -> Fetch:
    await _add_consumer(client, durable)
    pull = await client.jetstream().pull_subscribe_bind(consumer=durable, stream=STREAM)
    return lambda: pull.fetch(MAX_AT_ONCE, timeout=5)


async def _add_consumer(client: Client, durable: str) -> None:
    config = api.ConsumerConfig(durable_name=durable, max_ack_pending=2 * MESSAGES)
    await client.jetstream().add_consumer(STREAM, config)


async def _measure(fetch: Fetch) -> tuple[float, float]:
    """Seconds of wall and of this process's processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = 0
    while count < MESSAGES:
        messages = await fetch()
        for message in messages:
            await message.ack()
        count += len(messages)
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    uvloop.run(main())
