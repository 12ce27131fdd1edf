"""Replays: the owner of an event log sends pages of it to the service that asks, and only the owner can."""

import asyncio
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from quadrille.cli import provision
from quadrille.launcher.nats_users import PROVISIONER
from shared.chassis.jetstream import replay_client
from shared.chassis.jetstream.errors import NotAnswered
from shared.chassis.jetstream.replay_client import ReplayClient
from shared.chassis.jetstream.replay_protocol import (
    MAX_EVENTS,
    PageHeaders,
    decode_request,
    encode_batch,
)
from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import STREAM
from shared.chassis.runtime.service import Service
from shared.chassis.storage.event_log import SCANNED
from shared.contracts import OrderConfirmed, ProductCreated, StockAdded
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import serving
from tests.support.eventually import eventually
from tests.support.histories import Log, log_of
from tests.support.replay import asking, record, replayed
from tests.support.settings import settings_for


def product(number: int, description: str = "") -> ProductCreated:
    return ProductCreated(
        product_id=f"p{number}", name="Keyboard", description=description, price=5000
    )


def products(number: int, description: str = "") -> Log:
    return log_of("inventory", *(product(index, description) for index in range(number)))


@pytest.fixture
async def inventory(shop_settings: ShopSettings) -> AsyncIterator[Service]:
    async with serving(shop_settings) as service:
        await eventually(lambda: service.waiting_for() == [], 20)
        yield service


@pytest.fixture
async def client(shop_settings: ShopSettings) -> AsyncIterator[ReplayClient]:
    async with asking(shop_settings) as client:
        yield client


async def test_owner_sends_its_whole_log_in_pages(inventory: Service, client: ReplayClient):
    log = products(2 * MAX_EVENTS + 1)
    await record(inventory, log)
    pages = await replayed(client, "inventory")
    assert [len(page) for page in pages] == [MAX_EVENTS, MAX_EVENTS, 1]
    assert list(chain(*pages)) == log


async def test_replay_covers_the_requested_positions(inventory: Service, client: ReplayClient):
    log = products(2 * MAX_EVENTS)
    await record(inventory, log)
    assert await replayed(client, "inventory", after=10, until=20) == [log[10 : 10 + MAX_EVENTS]]
    assert await replayed(client, "inventory", after=len(log)) == []
    assert await client.end_of("inventory") == len(log)


async def test_replay_contains_the_requested_types_only(inventory: Service, client: ReplayClient):
    added = StockAdded(product_id="p1", quantity=1)
    others = [product(number) for number in range(SCANNED * MAX_EVENTS)]
    log = log_of("inventory", *others, added, product(len(others)), added)
    await record(inventory, log)
    pages = await replayed(client, "inventory", types=["StockAdded"])
    assert list(chain(*pages)) == [log[-3], log[-1]]


async def test_page_is_shorter_than_the_brokers_limit(tmp_path: Path):
    server = NatsServer(tmp_path / "nats", has_users=True)
    server.start()
    try:
        await provision.maintain_stream(
            settings_for(tmp_path, server.url_of(PROVISIONER)), once=True
        )
        owner = settings_for(tmp_path, server.url_of("inventory"))
        reader = settings_for(tmp_path, server.url_of("read"))
        async with serving(owner) as service, asking(reader) as client:
            log = products(60, "長" * 4000)
            await record(service, log)
            pages = await replayed(client, "inventory")
        assert list(chain(*pages)) == log
        assert len(pages) > 1
    finally:
        server.terminate()


async def test_owner_that_is_down_answers_later(
    shop_settings: ShopSettings, client: ReplayClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replay_client, "ANSWER_SECONDS", 0.1)
    with pytest.raises(NotAnswered, match="inventory does not answer"):
        await client.end_of("inventory")
    async with serving(shop_settings):
        assert await eventually(lambda: _answers(client), 20)


async def _answers(client: ReplayClient) -> bool:
    try:
        await client.end_of("inventory")
    except NotAnswered:
        return False
    return True


@pytest.fixture
async def impostor(broker_url: str) -> AsyncIterator[Client]:
    """Learns the ids of the requests that `read` sends, which no broker with users permits."""
    client = Client()
    await client.connect(broker_url)
    yield client
    await client.close()


def answer_to(request: Msg, *events: RecordedEvent) -> tuple[bytes, dict[str, str]]:
    """Body and headers."""
    headers = PageHeaders(decode_request(request.data).request_id, 1, 1).encode()
    return encode_batch([encode(event) for event in events]), headers


async def test_answer_from_another_than_the_owner_is_ignored(
    client: ReplayClient, impostor: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replay_client, "ANSWER_SECONDS", 0.5)

    async def forge(request: Msg) -> None:
        body, headers = answer_to(request, *products(1))
        await impostor.publish("replay.events.read.shipping", body, headers=headers)

    await impostor.subscribe("replay.request.inventory.read", cb=forge)
    await impostor.rtt()
    with pytest.raises(NotAnswered):
        await replayed(client, "inventory")


async def test_foreign_event_in_an_answer_is_ignored(client: ReplayClient, impostor: Client):
    async def forge(request: Msg) -> None:
        body, headers = answer_to(request, *products(1))
        await impostor.publish("replay.events.read.order", body, headers=headers)

    await impostor.subscribe("replay.request.order.read", cb=forge)
    await impostor.rtt()
    assert await replayed(client, "order") == [[]]


async def test_delivery_from_the_stream_is_no_answer(
    inventory: Service, client: ReplayClient, impostor: Client, monkeypatch: pytest.MonkeyPatch
):
    """The broker delivers a stored message, with its headers, to any subject that a request names."""
    monkeypatch.setattr(replay_client, "ANSWER_SECONDS", 3)
    await eventually(lambda: inventory.waiting_for() == [])
    jetstream = impostor.jetstream()
    await jetstream.add_consumer(
        STREAM, durable_name="inventory2", filter_subject="shop.shipping.>"
    )
    delivered = await impostor.subscribe("replay.events.read.order")

    async def forge(request: Msg) -> None:
        body, headers = answer_to(request, *log_of("order", OrderConfirmed(order_id="o1")))
        await jetstream.publish("shop.shipping.k.event", body, headers=headers)
        next_message = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.inventory2"
        await impostor.publish(next_message, reply="replay.events.read.order")

    await impostor.subscribe("replay.request.order.read", cb=forge)
    await impostor.rtt()
    answer = asyncio.ensure_future(replayed(client, "order"))
    assert (await delivered.next_msg(timeout=20)).subject == "shop.shipping.k.event"
    with pytest.raises(NotAnswered):
        await answer
