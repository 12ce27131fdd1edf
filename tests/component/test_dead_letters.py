import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from inventory_service.store import RESERVATIONS
from shared.chassis.engine.retention import RetentionRule, delete_slice
from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.received import MalformedMessage, Message, receive
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import STREAM
from shared.chassis.messages.system_events import EventDeadLettered
from shared.chassis.runtime.service import Service
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.chassis.storage.event_log import EVENT_LOG
from shared.chassis.storage.inbox import INBOX
from shared.contracts import CATALOG, OrderCreated, OrderItem, ShipmentCancelled, ShipmentCompleted
from shared.settings import ShopSettings
from tests.support.chassis import (
    Chassis,
    log_of,
    publishing,
    rows_of,
    serving,
    writing,
)
from tests.support.eventually import eventually
from tests.support.history import recorded

EVERY_ID = RetentionRule(INBOX.c.processed_at, timedelta())


def ordered(order_id: str) -> RecordedEvent:
    return recorded(
        OrderCreated(
            order_id=order_id,
            user_id="user123",
            items=(OrderItem(product_id="p1", quantity=1, price=5000),),
            total_amount=5000,
            currency="JPY",
        )
    )


def poison(order_id: str) -> RecordedEvent:
    """A completed shipment without a reservation: a rule of the inventory raises."""
    return recorded(ShipmentCompleted(shipment_id="s1", order_id=order_id, tracking_number="T1"))


@pytest.fixture
async def chassis(tmp_path: Path):
    async with writing(tmp_path / "inventory.db") as running:
        yield running


async def letters(chassis: Chassis) -> list[tuple[str, str, str]]:
    return [
        (row["entity_id"], row["event_type"], row["status"])
        for row in await chassis.rows(DEAD_LETTER)
    ]


async def reserved_for(chassis: Chassis) -> set[str]:
    return {row["order_id"] for row in await chassis.rows(RESERVATIONS)}


async def test_poison_event_is_parked_and_announced(chassis: Chassis):
    bad = poison("o1")
    await chassis.handle(bad)
    (row,) = await chassis.rows(DEAD_LETTER)
    assert (row["event_id"], row["entity_id"], row["status"]) == (bad.event_id, "o1", "PARKED")
    assert (row["subject"], row["body"]) == (bad.subject, encode(bad))
    assert row["error"] == "KeyError: 'o1'"
    (recorded_event,) = await chassis.log()
    assert recorded_event.event == EventDeadLettered(
        event_id=bad.event_id, event_type="ShipmentCompleted", key="o1", error="KeyError: 'o1'"
    )
    assert (recorded_event.causation_id, recorded_event.correlation_id) == (
        bad.event_id,
        bad.correlation_id,
    )


async def test_poison_event_parks_only_its_entity(chassis: Chassis):
    await chassis.handle(ordered("o0"), poison("o1"), ordered("o2"), ordered("o1"), ordered("o3"))
    assert await reserved_for(chassis) == {"o0", "o2", "o3"}
    assert await letters(chassis) == [
        ("o1", "ShipmentCompleted", "PARKED"),
        ("o1", "OrderCreated", "WAITING"),
    ]


async def test_later_events_of_parked_entity_wait_in_order(chassis: Chassis):
    await chassis.handle(poison("o1"))
    cancelled = recorded(ShipmentCancelled(order_id="o1", reason="CUSTOMER"))
    await chassis.handle(ordered("o1"), cancelled)
    await chassis.handle(poison("o1"))
    assert await letters(chassis) == [
        ("o1", "ShipmentCompleted", "PARKED"),
        ("o1", "OrderCreated", "WAITING"),
        ("o1", "ShipmentCancelled", "WAITING"),
        ("o1", "ShipmentCompleted", "WAITING"),
    ]
    assert await chassis.event_types() == ["EventDeadLettered"]


async def test_redelivered_parked_event_is_kept_once(chassis: Chassis):
    bad = poison("o1")
    await asyncio.gather(chassis.handle(bad, bad), chassis.handle(bad))
    await chassis.handle(bad)
    assert len(await chassis.rows(DEAD_LETTER)) == 1


async def test_redelivered_parked_event_without_inbox_blocks_nothing(
    chassis: Chassis,
):
    bad, waiting = poison("o1"), ordered("o1")
    await chassis.handle(bad, waiting)
    await chassis.writer.run_in_transaction(lambda connection: delete_slice(connection, EVERY_ID))
    await chassis.handle(bad, waiting, ordered("o2"))
    assert await reserved_for(chassis) == {"o2"}
    assert len(await chassis.rows(DEAD_LETTER)) == 2


async def test_two_poison_events_park_two_entities(chassis: Chassis):
    await chassis.handle(poison("o1"), poison("o2"), ordered("o2"), ordered("o3"))
    assert await reserved_for(chassis) == {"o3"}
    statuses = [row["status"] for row in await chassis.rows(DEAD_LETTER)]
    assert statuses == ["PARKED", "PARKED", "WAITING"]


async def test_malformed_message_blocks_nothing(chassis: Chassis):
    subject = "shop.order.o1.order_created"
    await chassis.handle(
        MalformedMessage(subject=subject, body=b"\xff{", error="bad"), ordered("o1")
    )
    assert await reserved_for(chassis) == {"o1"}
    (row,) = await chassis.rows(DEAD_LETTER)
    assert (row["status"], row["entity_id"], row["body"]) == ("UNDECODABLE", None, b"\xff{")
    (dead_lettered, _) = await chassis.log()
    assert (dead_lettered.event.key, dead_lettered.event.event_id) == ("o1", row["event_id"])


def changed(event: RecordedEvent, **attributes: object) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(encode(event)) | attributes)


def of_later_release(event: RecordedEvent, **data: object) -> Message:
    """The event in the next version of its schema."""
    fields = msgspec.json.decode(encode(event))["data"] | data
    version = event.event.SCHEMA_VERSION + 1
    schema = f"urn:quadrille:event:{event.event_type}:{version}"
    return receive(event.subject, changed(event, dataschema=schema, data=fields), CATALOG)


async def test_event_of_later_release_parks_only_its_entity(chassis: Chassis):
    later = of_later_release(ordered("o1"), colour="red")
    await chassis.handle(later, ordered("o1"), ordered("o2"), of_later_release(ordered("o1")))
    assert await reserved_for(chassis) == {"o2"}
    assert await letters(chassis) == [
        ("o1", "OrderCreated", "AWAITING_UPGRADE"),
        ("o1", "OrderCreated", "WAITING"),
        ("o1", "OrderCreated", "WAITING"),
    ]
    announced = (await chassis.log())[0]
    assert announced.event == EventDeadLettered(
        event_id=later.event_id,
        event_type="OrderCreated",
        key="o1",
        error="unknown schema version 3 of OrderCreated",
    )
    assert announced.causation_id == later.event_id


async def test_dead_letter_keeps_what_was_received(chassis: Chassis):
    body = changed(poison("o1"), data={"orderId": "o1", "shipmentId": "s1", "later": [1]})
    body = body.replace(b'"later"', b'"trackingNumber":"T1","later"')
    await chassis.handle(receive("shop.shipping.o1.shipment_completed", body, CATALOG))
    (row,) = await chassis.rows(DEAD_LETTER)
    assert (row["status"], row["body"]) == ("PARKED", body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\xff\xfe",
        b"{}",
        b"[" * 60_000,
        encode(ordered("o1")).ljust(1_000_000),
        b'{"x":"\\ud800"}',
        changed(ordered("o1"), type="OrderMislaid"),
        changed(ordered("o1"), type="\xad" * 300_000),
        changed(ordered("o1"), dataschema="urn:quadrille:event:OrderCreated:0"),
        changed(ordered("o2")),
        changed(ordered("o1"), source="shipping"),
        changed(ordered("o1"), data={"orderId": "o1"}),
        changed(ordered("o1"), sequence="9" * 30),
    ],
    ids=[
        "empty",
        "binary",
        "no-event",
        "deep",
        "megabyte",
        "half-a-surrogate",
        "unknown-type",
        "type-longer-when-quoted",
        "no-version",
        "foreign-subject",
        "foreign-source",
        "misshapen",
        "endless-sequence",
    ],
)
async def test_malformed_message_is_kept_announced_and_acknowledged(
    shop_settings: ShopSettings, body: bytes
):
    async with publishing(shop_settings) as other, serving(shop_settings) as service:
        stream = other.client.jetstream()
        await stream.publish("shop.order.o1.order_created", body)
        await other.publish([ordered("o3")])
        await eventually(lambda: _is_reserved(service, "o3"))
        (letter,) = await rows_of(service.reads, DEAD_LETTER)
        assert letter["subject"] == "shop.order.o1.order_created"
        events = [entry.event for entry in await log_of(service.reads, "inventory")]
        assert [event.event_id for event in events if isinstance(event, EventDeadLettered)] == [
            letter["event_id"]
        ]
        await eventually(lambda: _all_is_sent(service))
        await eventually(lambda: _all_is_acknowledged(service))


async def _is_reserved(service: Service, order_id: str) -> bool:
    rows = await rows_of(service.reads, RESERVATIONS)
    return order_id in {row["order_id"] for row in rows}


async def _all_is_sent(service: Service) -> bool:
    rows = await rows_of(service.reads, EVENT_LOG)
    return all(row["stream_seq"] for row in rows)


async def _all_is_acknowledged(service: Service) -> bool:
    info = await service.broker.jetstream().consumer_info(STREAM, "inventory")
    return info.num_ack_pending == 0 and info.num_pending == 0
