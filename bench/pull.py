"""Messages per second from the stream through one durable consumer: PullConsumer, and nats-py's `fetch`.

Both fetch the same number at once and acknowledge every message.
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
from bench.table import print_machine, print_table
from shared.chassis.jetstream.pull_consumer import MAX_AT_ONCE, PullConsumer

STREAM = "BENCH"
MESSAGES = 10_000
BODY = b"x" * 500
ROUNDS = 3
"""In turns; the fastest counts, because other processes use the machine too."""

Fetch = Callable[[], Awaitable[list[Msg]]]


async def main() -> None:
    print_machine()
    with tempfile.TemporaryDirectory() as directory, running_broker(Path(directory)) as server:
        client = await nats.connect(server.url)
        await _fill(client)
        rounds = [
            [
                await _measure(await _pull_consumer(client, f"quadrille{number}")),
                await _measure(await _nats_py(client, f"nats-py{number}")),
            ]
            for number in range(ROUNDS)
        ]
        await client.close()
    best = [min(measured) for measured in zip(*rounds, strict=True)]
    print_table(
        f"{MESSAGES} messages of {len(BODY)} bytes, {MAX_AT_ONCE} at once",
        ["client", "messages/s", "client CPU µs/message"],
        [
            [name, MESSAGES / wall, 1e6 * cpu / MESSAGES]
            for name, (wall, cpu) in zip(
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


async def _pull_consumer(client: Client, durable: str) -> Fetch:
    await _add_consumer(client, durable)
    pull = PullConsumer(client, STREAM, durable)
    await pull.open()
    return lambda: pull.fetch(5)


async def _nats_py(client: Client, durable: str) -> Fetch:
    await _add_consumer(client, durable)
    pull = await client.jetstream().pull_subscribe_bind(consumer=durable, stream=STREAM)
    return lambda: pull.fetch(MAX_AT_ONCE, timeout=5)


async def _add_consumer(client: Client, durable: str) -> None:
    config = api.ConsumerConfig(durable_name=durable, max_ack_pending=2 * MESSAGES)
    await client.jetstream().add_consumer(STREAM, config)


async def _measure(fetch: Fetch) -> tuple[float, float]:
    """Seconds, and CPU seconds of this process."""
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
