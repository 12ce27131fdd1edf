import asyncio
import sqlite3
from collections import Counter

import pytest
from sqlalchemy import Connection

from inventory_service.domain import CreateProduct, Description
from inventory_service.store import PRODUCTS, RESERVATIONS
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import STREAM
from shared.chassis.runtime.service import Service
from shared.chassis.storage.inbox import INBOX
from shared.contracts import OrderCreated, OrderItem
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import log_of, publishing, rows_of, serving
from tests.support.eventually import eventually
from tests.support.history import recorded


def ordered(number: int) -> RecordedEvent:
    return recorded(
        OrderCreated(
            order_id=f"o{number}",
            user_id="user123",
            items=(OrderItem(product_id="p1", quantity=1, price=5000),),
            total_amount=5000,
            currency="JPY",
        )
    )


@pytest.fixture
async def elsewhere(shop_settings: ShopSettings):
    async with publishing(shop_settings) as other:
        yield other


async def send(broker: JetStreamConnection, *events: RecordedEvent) -> None:
    """Publish until the broker has them all."""
    missing = list(events)
    while missing:
        taken = await broker.publish(missing)
        missing = [event for event in missing if event.position not in taken]
        if missing:
            await asyncio.sleep(0.1)


async def stock_up(service: Service, stock: int) -> None:
    described = Description(name="Super Keyboard", description="", price=5000)
    command = CreateProduct(product_id="p1", description=described, stock=stock)
    await service.writer.execute(CommandEnvelope(command))


async def are_reserved(service: Service, *numbers: int) -> bool:
    rows = await rows_of(service.reads, RESERVATIONS)
    return {row["order_id"] for row in rows} == {f"o{number}" for number in numbers}


async def reserved_in_total(service: Service) -> int:
    (product,) = await rows_of(service.reads, PRODUCTS)
    return product["reserved"]


async def test_event_published_during_downtime_is_handled_later(
    shop_settings: ShopSettings, elsewhere: JetStreamConnection
):
    async with serving(shop_settings) as service:
        await send(elsewhere, ordered(1))
        await eventually(lambda: are_reserved(service, 1))
    await send(elsewhere, ordered(2), ordered(3))
    async with serving(shop_settings) as service:
        await eventually(lambda: are_reserved(service, 1, 2, 3))


async def test_event_published_before_first_start_is_handled(
    shop_settings: ShopSettings, elsewhere: JetStreamConnection
):
    await send(elsewhere, ordered(1))
    async with serving(shop_settings) as service:
        await eventually(lambda: are_reserved(service, 1))


async def test_service_started_before_broker_waits_for_it(
    shop_settings: ShopSettings, broker: NatsServer
):
    broker.terminate()
    async with serving(shop_settings) as service:
        assert service.waiting_for() != []
        broker.restart()
        await eventually(lambda: service.waiting_for() == [])
        async with publishing(shop_settings) as other:
            await send(other, ordered(1))
            await eventually(lambda: are_reserved(service, 1))


async def test_killed_broker_loses_and_repeats_no_event(
    shop_settings: ShopSettings, broker: NatsServer, elsewhere: JetStreamConnection
):
    async with serving(shop_settings) as service:
        await stock_up(service, 100)
        for round_number in range(3):
            first = round_number * 20
            await send(elsewhere, *(ordered(first + number) for number in range(10)))
            broker.kill()
            broker.restart()
            await eventually(lambda: elsewhere.is_connected)
            await send(elsewhere, *(ordered(first + 10 + number) for number in range(10)))
        await eventually(lambda: are_reserved(service, *range(60)), within_seconds=20)
        assert await reserved_in_total(service) == 60
        counts = Counter(event.event_type for event in await log_of(service.reads, "inventory"))
        assert counts["StockReserved"] == 60


async def test_hanging_broker_is_waited_for(
    shop_settings: ShopSettings, broker: NatsServer, elsewhere: JetStreamConnection
):
    async with serving(shop_settings) as service:
        await send(elsewhere, ordered(1))
        await eventually(lambda: are_reserved(service, 1))
        broker.pause()
        sending = asyncio.create_task(send(elsewhere, ordered(2)))
        await asyncio.sleep(0.5)
        broker.resume()
        await sending
        await eventually(lambda: are_reserved(service, 1, 2))


async def test_deleted_stream_is_created_again(
    shop_settings: ShopSettings, elsewhere: JetStreamConnection
):
    async with serving(shop_settings) as service:
        await send(elsewhere, ordered(1))
        await eventually(lambda: are_reserved(service, 1))
        await elsewhere.jetstream().delete_stream(STREAM)
        await eventually(lambda: _has_stream(elsewhere))
        await send(elsewhere, ordered(2))
        await eventually(lambda: are_reserved(service, 1, 2))


async def _has_stream(broker: JetStreamConnection) -> bool:
    return any(info.config.name == STREAM for info in await broker.jetstream().streams_info())


async def test_deleted_durable_is_created_again_without_repetition(
    shop_settings: ShopSettings, elsewhere: JetStreamConnection
):
    async with serving(shop_settings) as service:
        await stock_up(service, 10)
        await send(elsewhere, ordered(1), ordered(2))
        await eventually(lambda: are_reserved(service, 1, 2))
        await elsewhere.jetstream().delete_consumer(STREAM, "inventory")
        await send(elsewhere, ordered(3))
        await eventually(lambda: are_reserved(service, 1, 2, 3))
        assert await reserved_in_total(service) == 3


async def test_locked_database_delays_events_without_loss(
    shop_settings: ShopSettings, elsewhere: JetStreamConnection
):
    async with serving(shop_settings) as service:
        await eventually(lambda: service.waiting_for() == [])
        await service.writer.run_in_transaction(_be_impatient)
        other = sqlite3.connect(shop_settings.data_dir / "inventory.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await send(elsewhere, ordered(1), ordered(2))
        await eventually(lambda: "its database" in " ".join(service.waiting_for()))
        other.execute("ROLLBACK")
        other.close()
        await eventually(lambda: are_reserved(service, 1, 2))
        assert service.waiting_for() == []


async def test_uncommitted_event_at_stop_is_redelivered(
    shop_settings: ShopSettings, elsewhere: JetStreamConnection
):
    other = sqlite3.connect(shop_settings.data_dir / "inventory.db", isolation_level=None)
    async with serving(shop_settings) as service:
        await eventually(lambda: service.waiting_for() == [])
        await service.writer.run_in_transaction(_be_impatient)
        other.execute("BEGIN IMMEDIATE")
        await send(elsewhere, ordered(1))
        await eventually(lambda: "its database" in " ".join(service.waiting_for()))
    other.close()
    async with serving(shop_settings) as service:
        await eventually(lambda: are_reserved(service, 1))


def _be_impatient(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA busy_timeout=20")


async def test_unacknowledged_event_is_redelivered_after_restart(
    shop_settings: ShopSettings, elsewhere: JetStreamConnection
):
    async with serving(shop_settings) as service:
        await eventually(lambda: service.waiting_for() == [])
    greedy = await elsewhere.jetstream().pull_subscribe_bind(consumer="inventory", stream=STREAM)
    await send(elsewhere, ordered(1))
    assert len(await greedy.fetch(1)) == 1
    async with serving(shop_settings) as service:
        await eventually(lambda: are_reserved(service, 1))


async def test_thousand_events_are_each_handled_once(
    shop_settings: ShopSettings, elsewhere: JetStreamConnection
):
    async with serving(shop_settings) as service:
        await stock_up(service, 1000)
        await send(elsewhere, *(ordered(number) for number in range(1000)))
        await eventually(lambda: are_reserved(service, *range(1000)), within_seconds=20)
        assert await reserved_in_total(service) == 1000
        assert len(await rows_of(service.reads, INBOX)) == 1000
