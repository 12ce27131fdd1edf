"""Events per second from one connection into the stream: our publisher, and nats-py's `js.publish` in two ways.

All three send the same bytes and headers and wait for every acknowledgement, with a timeout. Only the first two have
several in flight; `gather` does not keep their order if one of them fails.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import nats
import uvloop
from nats.js import JetStreamContext

from bench.processes import running_broker
from bench.table import print_machine, print_table
from shared.chassis.jetstream.publisher import PUBLISH_TIMEOUT_SECONDS
from shared.chassis.jetstream.relay import MAX_AT_ONCE
from shared.chassis.messages.clock import new_id, now
from shared.chassis.messages.cloudevents import CONTENT_TYPE, encode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import OrderCreated, OrderItem
from tests.support.chassis import Publisher
from tests.support.settings import settings_for

EVENTS = 20 * MAX_AT_ONCE
WIDTH = 16
ROUNDS = 3
"""In turns; the fastest counts, because other processes use the machine too."""

Publish = Callable[[Sequence[RecordedEvent]], Awaitable[object]]


async def main() -> None:
    print_machine()
    with tempfile.TemporaryDirectory() as directory, running_broker(Path(directory)) as server:
        broker = Publisher("bench", settings_for(Path(directory), server.url))
        await broker.connect()
        await broker.streams.ensure()
        client = await nats.connect(server.url)
        stream = client.jetstream()
        ways: dict[str, tuple[int, Publish]] = {
            f"Publisher.publish, {MAX_AT_ONCE} at once": (MAX_AT_ONCE, broker.publish),
            f"js.publish, gather of {WIDTH}": (WIDTH, lambda some: _gather(stream, some)),
            "js.publish, one by one": (1, lambda some: _send(stream, some[0])),
        }
        rounds = [[await _measure(*way) for way in ways.values()] for _ in range(ROUNDS)]
        await client.close()
        await broker.close()
    best = [min(measured) for measured in zip(*rounds, strict=True)]
    print_table(
        f"{EVENTS} events of {len(encode(_event(1)))} bytes into JetStream",
        ["client", "events/s", "client CPU µs/event"],
        [
            [way, EVENTS / wall, 1e6 * cpu / EVENTS]
            for way, (wall, cpu) in zip(ways, best, strict=True)
        ],
    )


async def _measure(width: int, publish: Publish) -> tuple[float, float]:
    """Seconds, and CPU seconds of this process."""
    events = [_event(position) for position in range(1, EVENTS + 1)]
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, EVENTS, width):
        await publish(events[start : start + width])
    return time.perf_counter() - wall, time.process_time() - cpu


async def _gather(stream: JetStreamContext, events: Sequence[RecordedEvent]) -> None:
    await asyncio.gather(*(_send(stream, recorded) for recorded in events))


async def _send(stream: JetStreamContext, recorded: RecordedEvent) -> None:
    await stream.publish(
        recorded.subject,
        encode(recorded),
        timeout=PUBLISH_TIMEOUT_SECONDS,
        headers={"Content-Type": CONTENT_TYPE, "Nats-Msg-Id": recorded.event_id},
    )


def _event(position: int) -> RecordedEvent:
    order_id = new_id()
    item = OrderItem(product_id="bench", name="Bench", quantity=1, price=100)
    return RecordedEvent(
        event_id=new_id(),
        source="order",
        position=position,
        event=OrderCreated(
            order_id=order_id, user_id="bench", items=(item,), total_amount=100, currency="JPY"
        ),
        recorded_at=now(),
        correlation_id=order_id,
    )


if __name__ == "__main__":
    uvloop.run(main())
