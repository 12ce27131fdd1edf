import asyncio
from functools import partial
from pathlib import Path

import pytest
from nats.js import api
from sqlalchemy import Connection, update

from inventory_service.domain import CreateProduct, Description
from order_service.store.prices import LIST_PRICES
from shared import broker as broker_module
from shared.batch import Wish
from shared.broker import Broker
from shared.config import Settings
from shared.contracts import ProductCreated
from shared.contracts.recorded import Recorded, decode, encode
from shared.contracts.subjects import STREAM
from shared.dead_letter import DEAD_LETTER
from shared.event_log import EVENT_LOG
from shared.inbox import INBOX
from shared.relay import MOST_AT_ONCE
from shared.service import Service
from tests.support.broker import NatsServer
from tests.support.chassis import ORDER, log_of, publishing, rows_of, serving
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.narrows import narrows
from tests.support.settings import settings_for


def create(number: int) -> CreateProduct:
    described = Description(name=f"Product {number}", description="x" * 500, price=5000)
    return CreateProduct(product_id=f"p{number}", description=described, stock=0)


async def execute(service: Service, command: object) -> None:
    await service.writer.execute(Wish(command))


async def all_is_sent(service: Service) -> bool:
    return all(row["stream_seq"] for row in await rows_of(service.reads, EVENT_LOG))


async def on_the_stream(broker: Broker) -> list[Recorded]:
    """All that the stream holds, in its order."""
    stream = broker._jetstream()
    last = (await stream.stream_info(STREAM)).state.last_seq
    messages = [await stream.get_msg(STREAM, seq=number + 1) for number in range(last)]
    return [decode(message.subject, message.data) for message in messages]


async def test_events_travel_in_the_order_of_the_log(shop_settings: Settings):
    async with serving(shop_settings) as service:
        number = MOST_AT_ONCE * 2 + 10
        await asyncio.gather(*(execute(service, create(each)) for each in range(number)))
        await eventually(lambda: all_is_sent(service))
        sent = await on_the_stream(service.broker)
        assert sent == await log_of(service.reads, "inventory")
        sequences = [row["stream_seq"] for row in await rows_of(service.reads, EVENT_LOG)]
        assert sequences == list(range(1, number + 1))


async def test_what_is_committed_while_the_broker_is_down_is_sent_when_it_is_back(
    shop_settings: Settings, broker: NatsServer
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


async def test_what_was_committed_and_not_published_before_a_restart_is_published_after_it(
    tmp_path: Path, broker: NatsServer
):
    nowhere = settings_for(tmp_path, "nats://127.0.0.1:9")
    async with serving(nowhere) as service:
        await execute(service, create(0))
    async with serving(settings_for(tmp_path, broker.url)) as service:
        await eventually(lambda: all_is_sent(service))
        assert await on_the_stream(service.broker) == await log_of(service.reads, "inventory")


async def test_an_acknowledgement_lost_before_it_was_noted_has_no_second_effect(
    shop_settings: Settings,
):
    async with serving(shop_settings) as service, serving(shop_settings, ORDER) as listener:
        await execute(service, create(0))
        await eventually(lambda: all_is_sent(service))
        await service.writer.aside(_forget_acknowledgements)
        service.relay.wake()
        await eventually(lambda: all_is_sent(service))
        assert len(await on_the_stream(service.broker)) == 1
        await eventually(lambda: _has_heard(listener, 1))


def _forget_acknowledgements(connection: Connection) -> None:
    connection.execute(update(EVENT_LOG).values(stream_seq=None))


async def _has_heard(service: Service, number: int) -> bool:
    return len(await rows_of(service.reads, INBOX)) == number


async def test_an_event_sent_again_after_the_broker_forgot_its_id_is_handled_once(
    shop_settings: Settings,
):
    first = recorded(ProductCreated(product_id="p1", name="K", description="", price=5))
    then = recorded(ProductCreated(product_id="p2", name="K", description="", price=5))
    async with publishing(shop_settings) as other, serving(shop_settings, ORDER) as listener:
        for message_id in ("one", "another"):
            await other._client.publish(
                first.subject, encode(first), headers={"Nats-Msg-Id": message_id}
            )
        await other.publish([then])
        await eventually(lambda: _has_heard(listener, 2))
        assert (await other._jetstream().stream_info(STREAM)).state.messages == 3
        assert len(await rows_of(listener.reads, LIST_PRICES)) == 2
        assert await rows_of(listener.reads, DEAD_LETTER) == []


async def test_events_wait_while_the_stream_is_full(tmp_path: Path, broker: NatsServer):
    settings = settings_for(tmp_path, broker.url, stream_max_bytes=5000)
    async with serving(settings) as service:
        await eventually(lambda: service.waiting_for() == [])
        for number in range(10):
            await execute(service, create(number))
        await eventually(lambda: service.relay.backlog)
        stream = service.broker._jetstream()
        config = (await stream.stream_info(STREAM)).config
        await stream.update_stream(api.StreamConfig.evolve(config, max_bytes=-1))
        await eventually(lambda: all_is_sent(service), within_seconds=20)
        assert await on_the_stream(service.broker) == await log_of(service.reads, "inventory")


async def test_a_late_acknowledgement_is_not_taken_for_another_events(
    tmp_path: Path, broker: NatsServer, monkeypatch: pytest.MonkeyPatch
):
    first, second = (
        recorded(ProductCreated(product_id=name, name="K", description="", price=5))
        for name in ("p1", "p2")
    )
    async with (
        narrows(broker.port) as proxy,
        publishing(settings_for(tmp_path, proxy.url)) as sender,
    ):
        monkeypatch.setattr(broker_module, "PUBLISH_TIMEOUT_SECONDS", 0.3)
        proxy.to_client.clear()
        assert await sender.publish([first]) == {}
        proxy.to_server.clear()
        proxy.to_client.set()
        assert await sender.publish([second]) == {}
        proxy.to_server.set()
        monkeypatch.setattr(broker_module, "PUBLISH_TIMEOUT_SECONDS", 5)
        assert await eventually(partial(sender.publish, [first, second])) == {
            first.position: 1,
            second.position: 2,
        }
