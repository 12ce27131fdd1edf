import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest
from nats.js import api
from sqlalchemy import Connection, insert, select, update

from inventory_service.domain import CreateProduct, Description
from order_service.orders.price_store import LIST_PRICES
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.jetstream import publisher as publisher_module
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.relay import MAX_AT_ONCE
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.cloudevents import decode, encode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import STREAM
from shared.chassis.runtime.service import Service
from shared.chassis.storage import event_log
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.chassis.storage.event_log import EVENT_LOG, Outgoing, Sent
from shared.chassis.storage.inbox import INBOX
from shared.contracts import CATALOG, ProductCreated
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import ORDER, log_of, publishing, rows_of, serving
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.settings import settings_for
from tests.support.tcp_proxy import tcp_proxy


def create(number: int) -> CreateProduct:
    described = Description(name=f"Product {number}", description="x" * 500, price=5000)
    return CreateProduct(product_id=f"p{number}", description=described, stock=0)


async def execute(service: Service, command: object) -> None:
    await service.writer.execute(CommandEnvelope(command))


async def all_is_sent(service: Service) -> bool:
    return all(row["stream_seq"] for row in await rows_of(service.reads, EVENT_LOG))


async def on_the_stream(broker: JetStreamConnection) -> list[RecordedEvent]:
    """All events in the stream, in its order."""
    stream = broker.jetstream()
    state = (await stream.stream_info(STREAM)).state
    numbers = range(max(state.first_seq, 1), state.last_seq + 1)
    messages = [await stream.get_msg(STREAM, seq=number) for number in numbers]
    return [decode(message.subject, message.data, CATALOG) for message in messages]


async def test_events_are_published_in_log_order(shop_settings: ShopSettings):
    async with serving(shop_settings) as service:
        number = MAX_AT_ONCE * 2 + 10
        await asyncio.gather(*(execute(service, create(index)) for index in range(number)))
        await eventually(lambda: all_is_sent(service))
        sent = await on_the_stream(service.broker)
        assert sent == await log_of(service.reads, "inventory")
        sequences = [row["stream_seq"] for row in await rows_of(service.reads, EVENT_LOG)]
        assert sequences == list(range(1, number + 1))


async def test_events_committed_during_outage_are_published_later(
    shop_settings: ShopSettings, broker: NatsServer
):
    async with serving(shop_settings) as service:
        await execute(service, create(0))
        await eventually(lambda: all_is_sent(service))
        broker.kill()
        for number in range(1, 5):
            await execute(service, create(number))
        assert not await all_is_sent(service)
        await eventually(lambda: service.relay.backlog)
        assert "the broker to take its events" in service.waiting_for()
        broker.restart()
        await eventually(lambda: all_is_sent(service), within_seconds=20)
        assert await on_the_stream(service.broker) == await log_of(service.reads, "inventory")
        await eventually(lambda: service.waiting_for() == [], within_seconds=20)


async def test_unpublished_events_are_published_after_restart(tmp_path: Path, broker: NatsServer):
    nowhere = settings_for(tmp_path, "nats://127.0.0.1:9")
    async with serving(nowhere) as service:
        await execute(service, create(0))
    async with serving(settings_for(tmp_path, broker.url)) as service:
        await eventually(lambda: all_is_sent(service))
        assert await on_the_stream(service.broker) == await log_of(service.reads, "inventory")


async def test_lost_acknowledgement_has_no_second_effect(
    shop_settings: ShopSettings,
):
    async with serving(shop_settings) as service, serving(shop_settings, ORDER) as listener:
        await execute(service, create(0))
        await eventually(lambda: all_is_sent(service))
        await service.writer.run_in_transaction(_forget_acknowledgements)
        service.relay.wake()
        await eventually(lambda: all_is_sent(service))
        assert len(await on_the_stream(service.broker)) == 1
        await eventually(lambda: _has_processed(listener, 1))


def _forget_acknowledgements(connection: Connection) -> None:
    connection.execute(update(EVENT_LOG).values(stream_seq=None))


async def _has_processed(service: Service, number: int) -> bool:
    return len(await rows_of(service.reads, INBOX)) == number


async def test_event_published_under_new_id_is_handled_once(
    shop_settings: ShopSettings,
):
    first = recorded(ProductCreated(product_id="p1", name="K", description="", price=5))
    then = recorded(ProductCreated(product_id="p2", name="K", description="", price=5))
    async with publishing(shop_settings) as other, serving(shop_settings, ORDER) as listener:
        for message_id in ("one", "another"):
            await other.client.publish(
                first.subject, encode(first), headers={"Nats-Msg-Id": message_id}
            )
        await other.publish([then])
        await eventually(lambda: _has_processed(listener, 2))
        assert (await other.jetstream().stream_info(STREAM)).state.messages == 3
        assert len(await rows_of(listener.reads, LIST_PRICES)) == 2
        assert await rows_of(listener.reads, DEAD_LETTER) == []


async def test_events_wait_while_the_stream_is_full(tmp_path: Path, broker: NatsServer):
    settings = settings_for(tmp_path, broker.url, stream_max_bytes=5000)
    async with serving(settings) as service:
        await eventually(lambda: service.waiting_for() == [])
        for number in range(10):
            await execute(service, create(number))
        await eventually(lambda: service.relay.backlog)
        stream = service.broker.jetstream()
        config = (await stream.stream_info(STREAM)).config
        await stream.update_stream(api.StreamConfig.evolve(config, max_bytes=-1))
        await eventually(lambda: all_is_sent(service), within_seconds=20)
        assert await on_the_stream(service.broker) == await log_of(service.reads, "inventory")


async def test_late_acknowledgement_is_not_matched_to_another_event(
    tmp_path: Path, broker: NatsServer, monkeypatch: pytest.MonkeyPatch
):
    first, second = (
        recorded(ProductCreated(product_id=name, name="K", description="", price=5))
        for name in ("p1", "p2")
    )
    async with (
        tcp_proxy(broker.port) as proxy,
        publishing(settings_for(tmp_path, proxy.url)) as sender,
    ):
        monkeypatch.setattr(publisher_module, "PUBLISH_TIMEOUT_SECONDS", 0.3)
        proxy.to_client.clear()
        assert await sender.publish([first]) == {}
        proxy.to_server.clear()
        proxy.to_client.set()
        assert await sender.publish([second]) == {}
        proxy.to_server.set()
        monkeypatch.setattr(publisher_module, "PUBLISH_TIMEOUT_SECONDS", 5)
        assert await eventually(partial(sender.publish, [first, second])) == {
            first.position: 1,
            second.position: 2,
        }


def create_long(number: int, length: int) -> CreateProduct:
    described = Description(name="Long", description="x" * length, price=5000)
    return CreateProduct(product_id=f"p{number}", description=described, stock=0)


async def change_stream(broker: JetStreamConnection, **changes: object) -> None:
    stream = broker.jetstream()
    config = (await stream.stream_info(STREAM)).config
    await stream.update_stream(api.StreamConfig.evolve(config, **changes))


async def refusals(service: Service) -> dict[int, str]:
    rows = await rows_of(service.reads, EVENT_LOG)
    return {row["position"]: row["refusal"] for row in rows if row["refusal"]}


async def keys_on_the_stream(broker: JetStreamConnection) -> list[str]:
    return [event.entity_id for event in await on_the_stream(broker)]


async def test_event_refused_by_stream_blocks_no_other(shop_settings: ShopSettings):
    async with serving(shop_settings) as service:
        await eventually(lambda: service.waiting_for() == [])
        await change_stream(service.broker, max_msg_size=2000)
        await execute(service, create(1))
        await execute(service, create_long(2, 3000))
        await execute(service, create(3))
        await eventually(lambda: refusals(service))
        assert await refusals(service) == {2: "nats: message size exceeds maximum allowed"}
        await eventually(lambda: has_on_the_stream(service, "p1", "p3"))
        ready = await readiness_of(service)
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        (warning,) = ready.json()["warnings"]
        assert warning.startswith("the broker refuses 1 of its events permanently")
        await change_stream(service.broker, max_msg_size=-1)
        await service.resend(2, 2)
        await eventually(lambda: has_on_the_stream(service, "p1", "p3", "p2", "p3"))
        await eventually(lambda: all_is_sent(service))
        await eventually(lambda: service.warnings() == [])


async def readiness_of(service: Service) -> httpx.Response:
    """The answer of its HTTP application, without starting the service again."""
    app = service.app("Quadrille: test", [])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return await http.get("/health/ready")


async def has_on_the_stream(service: Service, *keys: str) -> bool:
    return await keys_on_the_stream(service.broker) == list(keys)


@pytest.fixture
def narrow_broker(tmp_path: Path) -> Iterator[NatsServer]:
    """A broker that accepts messages of up to 2,000 bytes, headers included."""
    server = NatsServer(tmp_path / "nats", "max_payload: 2000\n")
    server.start()
    yield server
    server.terminate()


async def test_event_refused_by_server_blocks_no_other(tmp_path: Path, narrow_broker: NatsServer):
    settings = settings_for(tmp_path, narrow_broker.url)
    fits, only_without_headers, too_large = (
        create_long(number, length) for number, length in enumerate((1450, 1560, 3000))
    )
    async with serving(settings) as service:
        await eventually(lambda: service.waiting_for() == [])
        for command in (fits, only_without_headers, too_large, create(3)):
            await execute(service, command)
        await eventually(lambda: has_on_the_stream(service, "p0", "p3"))
        bodies = {
            event.entity_id: len(encode(event))
            for event in await log_of(service.reads, "inventory")
        }
        assert bodies["p0"] < bodies["p1"] < 2000 < bodies["p2"]
        assert await refusals(service) == dict.fromkeys([2, 3], "nats: maximum payload exceeded")
        assert not service.broker.reconnected.is_set()
        assert service.waiting_for() == []
    async with serving(settings) as service:
        await eventually(lambda: service.waiting_for() == [])
        await eventually(lambda: service.relay.refused == 2)
        await execute(service, create(4))
        await eventually(lambda: has_on_the_stream(service, "p0", "p3", "p4"))


async def test_event_of_newer_release_is_published_as_stored(tmp_path: Path, broker: NatsServer):
    async with serving(settings_for(tmp_path, "nats://127.0.0.1:9")) as service:
        await execute(service, create(1))
        await service.writer.run_in_transaction(_append_of_a_newer_release)
        await execute(service, create(2))
    async with serving(settings_for(tmp_path, broker.url)) as service:
        await eventually(lambda: all_is_sent(service))
        message = await service.broker.jetstream().get_msg(STREAM, seq=2)
        assert message.subject == "shop.inventory.p9.product_gilded"
        body = msgspec.json.decode(message.data)
        assert body["data"] == {"productId": "p9", "carats": 24}
        assert body["dataschema"] == "urn:quadrille:event:ProductGilded:3"
        await execute(service, create(3))
        await eventually(lambda: all_is_sent(service))


def _append_of_a_newer_release(connection: Connection) -> None:
    row = connection.execute(select(EVENT_LOG)).mappings().one()
    newer = {
        "position": 2,
        "event_id": new_id(),
        "entity_id": "p9",
        "event_type": "ProductGilded",
        "schema_version": 3,
        "data": '{"productId":"p9","carats":24}',
    }
    connection.execute(insert(EVENT_LOG).values(**{**row, **newer}))


async def test_resend_is_stored_within_duplicate_window(shop_settings: ShopSettings):
    async with serving(shop_settings) as service:
        for number in range(3):
            await execute(service, create(number))
        await eventually(lambda: all_is_sent(service))
        # Removes all messages but the last, and still recognizes their ids.
        await change_stream(service.broker, max_msgs=1, discard=api.DiscardPolicy.OLD)
        await change_stream(service.broker, max_msgs=-1, discard=api.DiscardPolicy.NEW)
        await eventually(lambda: has_on_the_stream(service, "p2"))
        for _ in range(2):
            await service.resend(1, 2)
            await eventually(lambda: all_is_sent(service))
        await eventually(lambda: has_on_the_stream(service, "p2", *["p0", "p1", "p2"] * 2))


async def test_late_acknowledgement_does_not_cancel_a_resend(shop_settings: ShopSettings):
    async with serving(shop_settings) as service:
        await execute(service, create(0))
        await eventually(lambda: all_is_sent(service))
        (row,) = await rows_of(service.reads, EVENT_LOG)

        def resend_while_published(connection: Connection) -> int:
            event_log.resend(connection, [1])
            outgoing = Outgoing(1, 0, row["event_id"], "", b"")
            event_log.mark(connection, [outgoing], Sent({1: 7}, {}))
            event_log.mark(connection, [outgoing], Sent({}, {1: "too large"}))
            return len(event_log.unsent(connection, "inventory", 10))

        assert await service.writer.run_in_transaction(resend_while_published) == 1
