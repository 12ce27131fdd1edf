"""What a service reads back from the stream is all of it, or an error."""

from collections.abc import AsyncIterator

import pytest

from shared.chassis.jetstream import connection, stream_reader
from shared.chassis.jetstream.pull_consumer import MAX_AT_ONCE
from shared.chassis.jetstream.stream_reader import audit_consumer, stored_ids
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import STREAM
from shared.contracts import OrderCompleted, ProductCreated
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import Publisher, publishing
from tests.support.history import recorded

EVENTS = 2 * MAX_AT_ONCE + 10


@pytest.fixture
async def publisher(shop_settings: ShopSettings) -> AsyncIterator[Publisher]:
    async with publishing(shop_settings) as other:
        yield other


async def publish(publisher: Publisher) -> list[RecordedEvent]:
    """Events of inventory, between some of order."""
    product = ProductCreated(product_id="p1", name="K", description="", price=5)
    events = [recorded(product) for _ in range(EVENTS)]
    await publisher.publish([recorded(OrderCompleted(order_id="o1", tracking_number="t1"))])
    await publisher.publish(events)
    await publisher.publish([recorded(OrderCompleted(order_id="o2", tracking_number="t2"))])
    return events


async def test_all_events_of_one_service_are_read(publisher: Publisher):
    assert [ids async for ids in stored_ids(publisher, "inventory")] == []
    events = await publish(publisher)
    for _ in range(2):
        read = [event_id async for ids in stored_ids(publisher, "inventory") for event_id in ids]
        assert read == [event.event_id for event in events]
    consumers = await publisher.jetstream().consumers_info(STREAM)
    assert audit_consumer("inventory") not in {consumer.name for consumer in consumers}


async def test_silent_broker_is_not_the_end(
    publisher: Publisher, broker: NatsServer, monkeypatch: pytest.MonkeyPatch
):
    await publish(publisher)
    for module in (connection, stream_reader):
        monkeypatch.setattr(module, "API_TIMEOUT_SECONDS", 0.3)
    batches = stored_ids(publisher, "inventory")
    await anext(batches)
    broker.pause()
    with pytest.raises(TimeoutError):
        _ = [ids async for ids in batches]
    broker.resume()


async def test_abandoned_reading_starts_from_the_first(publisher: Publisher):
    events = await publish(publisher)
    left = stored_ids(publisher, "inventory")
    await anext(left)
    read = [event_id async for ids in stored_ids(publisher, "inventory") for event_id in ids]
    await left.aclose()
    assert len(read) == len(events)
