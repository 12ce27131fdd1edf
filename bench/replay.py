"""Events per second out of the services' event logs: read and decoded only, and into a new database of the read API.

The stream is empty, as after its retention: everything comes from the owners of the logs, on request.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import uvloop
from sqlalchemy import Connection, update
from sqlalchemy.exc import OperationalError

from bench.processes import cpu_seconds, running, running_broker, wait_until_ready
from bench.table import print_machine, print_table
from read_api.tables import POSITIONS
from shared.chassis.jetstream import stream_config
from shared.chassis.jetstream.replay_client import Page
from shared.chassis.messages import clock
from shared.chassis.messages.cloudevents import stored
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent, StoredEvent
from shared.chassis.messages.subjects import STREAM
from shared.chassis.storage import event_log
from shared.chassis.storage.database import database_url, open_for_reading
from shared.chassis.storage.event_log import EVENT_LOG
from shared.contracts import (
    LineItem,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderItem,
    ProductCreated,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentInitiated,
    StockAdded,
    StockDeducted,
    StockReserved,
)
from shared.settings import ShopSettings
from tests.support.chassis import INVENTORY, ORDER, SHIPPING, Publisher, rows_of, serving
from tests.support.eventually import eventually
from tests.support.replay import LONG_AGO, asking
from tests.support.settings import settings_for

ORDERS = 12_500
"""Of eight events."""
PRODUCTS = 50
OWNERS = {
    "order": (ORDER, "order_service", "order_port"),
    "inventory": (INVENTORY, "inventory_service", "inventory_port"),
    "shipping": (SHIPPING, "shipping_service", "shipping_port"),
}
AT_ONCE = 5000
POLL_SECONDS = 0.02
START_SECONDS = 30


async def main() -> None:
    print_machine()
    logs = _logs()
    events = sum(map(len, logs.values()))
    with ExitStack() as life:
        directory = Path(life.enter_context(tempfile.TemporaryDirectory()))
        broker = life.enter_context(running_broker(directory))
        settings = settings_for(directory, broker.url)
        for source, log in logs.items():
            await _record(settings, source, log)
        await _expire_stream(settings)
        pids = [life.enter_context(running(module, settings)) for _, module, _ in OWNERS.values()]
        for _, module, port in OWNERS.values():
            wait_until_ready(settings, module, getattr(settings, port))
        decoded = await _measure(_replay_all(settings, logs), [*pids, os.getpid()])
        reader = life.enter_context(running("read_api", settings))
        await _until_applied(settings, 1)
        applied = await _measure(_until_applied(settings, events), [*pids, reader])
    print_table(
        f"{events} events out of {len(logs)} event logs",
        ["replay", "events/s", "owners' CPU µs/event", "requester's CPU µs/event"],
        [
            _row("read and decoded", events, decoded),
            _row("applied by the read API", events, applied),
        ],
    )


async def _measure(work: Awaitable[None], pids: Sequence[int]) -> tuple[float, list[float]]:
    """Seconds, and CPU seconds of each process."""
    wall, before = time.perf_counter(), [cpu_seconds(pid) for pid in pids]
    await work
    spent = [cpu_seconds(pid) - earlier for pid, earlier in zip(pids, before, strict=True)]
    return time.perf_counter() - wall, spent


def _row(title: str, events: int, measured: tuple[float, list[float]]) -> list[object]:
    wall, (*owners, requester) = measured
    return [title, events / wall, 1e6 * sum(owners) / events, 1e6 * requester / events]


def _logs() -> dict[str, list[StoredEvent]]:
    """Every order is completed."""
    logs: dict[str, list[StoredEvent]] = {source: [] for source in OWNERS}
    for event in _events():
        source = event.SOURCE or ""
        recorded = RecordedEvent(
            event_id=clock.new_id(),
            source=source,
            position=len(logs[source]) + 1,
            event=event,
            recorded_at=LONG_AGO,  # the owners do not publish them again
            correlation_id=event.entity_id,
        )
        logs[source].append(stored(recorded))
    return logs


def _events() -> Iterator[Event]:
    for number in range(PRODUCTS):
        yield ProductCreated(product_id=f"bench{number}", name="Bench", description="", price=100)
        yield StockAdded(product_id=f"bench{number}", quantity=ORDERS)
    for number in range(ORDERS):
        yield from _events_of(f"bench{number}", f"bench{number % PRODUCTS}")


def _events_of(order_id: str, product_id: str) -> Iterator[Event]:
    ordered = (OrderItem(product_id=product_id, name="Bench", quantity=1, price=100),)
    items = (LineItem(product_id=product_id, quantity=1),)
    yield OrderCreated(
        order_id=order_id, user_id="bench", items=ordered, total_amount=100, currency="JPY"
    )
    yield StockReserved(order_id=order_id, items=items)
    yield OrderConfirmed(order_id=order_id)
    yield ShipmentInitiated(shipment_id=order_id, order_id=order_id, items=items)
    yield ShipmentDispatched(
        shipment_id=order_id, order_id=order_id, carrier="bench", reference="R"
    )
    yield ShipmentCompleted(shipment_id=order_id, order_id=order_id, tracking_number="T")
    yield StockDeducted(order_id=order_id, items=items)
    yield OrderCompleted(order_id=order_id, tracking_number="T")


async def _expire_stream(settings: ShopSettings) -> None:
    """Replace the stream by one that has held a million events, and holds none."""
    publisher = Publisher("bench", settings)
    await publisher.connect()
    await publisher.jetstream().delete_stream(STREAM)
    config = stream_config.target(settings).evolve(first_seq=1_000_000)
    await publisher.jetstream().add_stream(config)
    await publisher.close()


async def _record(settings: ShopSettings, source: str, log: Sequence[StoredEvent]) -> None:
    """Make the log of a service, as if all of it had been published."""

    def write(connection: Connection, start: int) -> None:
        event_log.append(connection, log[start : start + AT_ONCE])
        connection.execute(update(EVENT_LOG).values(stream_seq=EVENT_LOG.c.position))

    async with serving(settings, OWNERS[source][0]) as service:
        await eventually(lambda: service.waiting_for() == [], START_SECONDS)
        for start in range(0, len(log), AT_ONCE):
            await service.writer.run_in_transaction(partial(write, start=start))


async def _replay_all(settings: ShopSettings, logs: Mapping[str, Sequence[StoredEvent]]) -> None:
    positions = dict.fromkeys(logs, 0)

    async def deliver(source: str, page: Page) -> int:
        positions[source] = page.through
        return page.through

    async with asking(settings) as client:
        await asyncio.gather(
            *(
                client.replay(source, partial(deliver, source), after=0, until=len(log))
                for source, log in logs.items()
            )
        )
    if any(positions[source] < len(log) for source, log in logs.items()):
        raise AssertionError(positions)


async def _until_applied(settings: ShopSettings, events: int) -> None:
    """Until the read API has applied this number of events."""
    database = open_for_reading(database_url("read", settings))
    applied = 0
    while applied < events:
        with suppress(OperationalError):  # its tables do not exist yet
            applied = sum(row["applied"] for row in await rows_of(database, POSITIONS))
        await asyncio.sleep(POLL_SECONDS)
    await database.close()


if __name__ == "__main__":
    uvloop.run(main())
