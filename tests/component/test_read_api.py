"""The read API as a process on a real broker: documents, restarts and live streams."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats
import pytest
from msgspec.structs import replace

from read_api.tables import HELD_EVENTS
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.testing import START
from shared.contracts import (
    OrderConfirmed,
    OrderCreated,
    OrderItem,
    ProductCreated,
    ShipmentInitiated,
    StockReserved,
)
from shared.settings import ShopSettings
from tests.support.chassis import publishing
from tests.support.eventually import eventually
from tests.support.histories import Log, log_of, logs_of
from tests.support.in_memory_shop import InMemoryShop
from tests.support.read_api_process import TIMEOUT_SECONDS, ReadApi, places, read_api
from tests.support.settings import environment_of, settings_for

ORDERS = 40


@pytest.fixture
async def reader(shop_settings: ShopSettings) -> AsyncIterator[ReadApi]:
    with read_api(shop_settings) as process:
        await process.until_ready()
        yield process


@pytest.fixture
async def shop(shop_settings: ShopSettings) -> AsyncIterator[JetStreamConnection]:
    async with publishing(shop_settings) as broker:
        yield broker


def created(order_id: str, user_id: str = "u") -> OrderCreated:
    item = OrderItem(product_id="prod001", name="Keyboard", quantity=2, price=100)
    return OrderCreated(
        order_id=order_id, user_id=user_id, items=(item,), total_amount=200, currency="JPY"
    )


def orders(number: int) -> Log:
    return log_of("order", *(created(f"o{index:03}", f"u{index % 2}") for index in range(number)))


def busy_shop() -> dict[str, Log]:
    """The three saga outcomes, many times."""
    shop = InMemoryShop({"prod001": 30, "prod002": 5})
    for number in range(ORDERS):
        order_id = f"o{number}"
        shop.place(order_id, [("prod001", 1), ("prod002", number % 3)][: 1 + bool(number % 3)])
        shop.deliver_all()
        if order_id in shop.bookings_due():
            shop.answer_booking(order_id, delivered=bool(number % 4))
            shop.deliver_all()
    return logs_of(shop)


async def publish(shop: JetStreamConnection, *logs: Log) -> None:
    """Publish these logs, interleaved."""
    events = [event for log in logs for event in log]
    for event in sorted(events, key=lambda event: (event.recorded_at, event.position)):
        assert await shop.publish([event])


def positions_of(logs: dict[str, Log]) -> dict[str, int]:
    return {source: len(log) for source, log in logs.items()}


async def until_visible(reader: ReadApi, number: int) -> None:
    """Until this number of events is visible."""

    async def seen() -> int:
        count, cursor = 0, None
        while True:
            query = {"cursor": cursor} if cursor else {}
            page = await reader.get("/events", limit=200, **query)
            count += len(page["items"])
            cursor = page["nextCursor"]
            if cursor is None:
                return count

    async def all_seen() -> bool:
        return await seen() >= number

    await eventually(all_seen, TIMEOUT_SECONDS)


async def test_order_document_combines_all_projections(reader, shop) -> None:
    logs = busy_shop()
    await publish(shop, *logs.values())
    order = await reader.until("/orders/o1", lambda one: one.get("notifications"))
    assert order["status"] == "COMPLETED"
    assert order["items"][0]["productId"] == "prod001"
    assert order["reservation"]["status"] == "DEDUCTED"
    assert order["shipment"]["status"] == "COMPLETED"
    assert order["shipment"]["trackingNumber"] == order["trackingNumber"] == "T1"
    assert [mail["status"] for mail in order["notifications"]] == ["SKIPPED", "SENT"]
    timeline = (await reader.get("/orders/o1/timeline"))["items"]
    assert [entry["type"] for entry in timeline if entry["source"] != "notifier"] == [
        "OrderCreated",
        "StockReserved",
        "OrderConfirmed",
        "ShipmentInitiated",
        "ShipmentCompleted",
        "OrderCompleted",
        "StockDeducted",
    ]


async def test_event_after_gap_is_applied_when_gap_closes(reader, shop) -> None:
    first, missing, last = log_of(
        "order", created("o1"), created("o2"), OrderConfirmed(order_id="o1")
    )
    await shop.publish([first, last])
    waiting = await reader.until("/health/ready", lambda answer: "event" in str(answer))
    assert waiting["waitingFor"] == ["event 2 of order, which later ones wait for"]
    assert (await reader.get("/orders/o1"))["status"] == "PENDING"
    await shop.publish([missing])
    await reader.until("/orders/o1", lambda order: order["status"] == "AWAITING_SHIPMENT")
    await reader.until_ready()
    assert reader.stop() == 0
    assert reader.rows()[HELD_EVENTS.name] == []


async def test_deleted_read_database_is_rebuilt_row_by_row(reader, shop) -> None:
    logs = busy_shop()
    await publish(shop, *logs.values())
    await until_visible(reader, sum(map(len, logs.values())))
    assert reader.stop() == 0
    before = reader.rows()
    assert {row["source"]: row["applied"] for row in before["positions"]} == positions_of(logs)
    assert len(before["orders"]) == ORDERS
    reader.delete_database()
    reader.start()
    await reader.until_ready()
    await until_visible(reader, sum(map(len, logs.values())))
    assert reader.stop() == 0
    assert reader.rows() == before


async def test_restart_applies_no_event_twice(reader, shop) -> None:
    log = orders(20)
    await shop.publish(log[:10])
    await reader.until("/orders", lambda page: len(page["items"]) == 10)
    reader.kill()
    await shop.publish(log[10:])
    reader.start()
    await reader.until_ready()
    await reader.until("/orders", lambda page: len(page.get("items", ())) == 20)


async def test_malformed_messages_stop_nothing(reader, shop, broker_url) -> None:
    log = log_of(
        "order",
        created("o1"),
        OrderConfirmed(order_id="never-created"),
        OrderConfirmed(order_id="o1"),
        created("o2"),
    )
    mislaid = encode(log[2]).replace(b"OrderConfirmed", b"OrderMislaid")
    client = await nats.connect(broker_url)
    for subject, body in (
        ("shop.order.o1.order_created", b""),
        ("shop.order.o1.order_created", b"\xff\x00{"),
        ("shop.order.o1.order_created", b"[" * 100_000),
        ("shop.nonsense", b"null"),
        ("shop.order.o1.order_created", encode(log[0]).replace(b"JPY", b"\\u0000")),
        ("shop.shipping.o1.order_created", encode(log[0])),
        ("shop.order.o1.order_mislaid", mislaid),
    ):
        await client.publish(subject, body)
    await client.flush()
    await shop.publish([log[0], log[1], log[3]])
    await reader.until("/orders/o2", lambda order: order.get("status") == "PENDING")
    assert (await reader.get("/orders/o1"))["status"] == "PENDING"
    await reader.until_ready()
    await client.close()


async def publish_raw(broker_url: str, *messages: tuple[str, bytes]) -> None:
    """Publish as a client that is none of our services."""
    client = await nats.connect(broker_url)
    for subject, body in messages:
        await client.jetstream().publish(subject, body)  # stored before what is published next
    await client.close()


async def test_incomplete_event_takes_no_position(reader, shop, broker_url) -> None:
    log = log_of("order", created("o1"), created("o2"), created("o3"))
    await shop.publish(log[:1])
    await reader.until("/orders/o1", lambda order: order.get("status") == "PENDING")
    await publish_raw(
        broker_url,
        ("shop.order.o2.order_created", b'{"source":"order","sequence":"000000000002"}'),
        ("shop.order.o2.order_created", b'{"source":"order","sequence":"000000000999"}'),
    )
    await shop.publish(log[1:])
    await reader.until("/orders/o3", lambda order: order.get("status") == "PENDING")
    assert (await reader.get("/orders/o2"))["status"] == "PENDING"
    await reader.until_ready()


def waits_for(answer: Any, text: str) -> bool:
    return any(text in reason for reason in answer.get("waitingFor", ()))


async def until_waiting_for(reader: ReadApi, text: str) -> None:
    await reader.until("/health/ready", lambda answer: waits_for(answer, text))


async def test_forged_position_is_reported_until_forgotten(reader, shop, broker_url) -> None:
    log = log_of("order", *(created(f"o{number}") for number in range(1, 5)))
    forged = replace(log[2], event_id="forged", event=created("evil"))
    await shop.publish(log[:2])
    await publish_raw(broker_url, (forged.subject, encode(forged)))
    await shop.publish(log[2:])
    await until_waiting_for(reader, "order's log diverges at position 3: event forged was applied")
    assert (await reader.get("/orders/o4"))["status"] == "PENDING"
    [source] = [
        source
        for source in (await reader.get("/dashboard"))["sources"]
        if source["source"] == "order"
    ]
    assert source["divergesAt"] == 3
    assert reader.stop() == 0
    before = reader.rows()
    reader.delete_database()
    reader.start()
    await until_waiting_for(reader, "order's log diverges at position 3: event forged was applied")
    await until_visible(reader, 4)
    [event] = (await reader.get("/events/held"))["items"]
    assert (event["eventId"], event["status"]) == (log[2].event_id, "DIVERGING")
    assert event["appliedEventId"] == "forged"
    path = f"/events/held/order/3/{log[2].event_id}"
    assert (await reader.delete(path)).status_code == 204
    again = await reader.delete(path)
    assert (again.status_code, again.json()["type"]) == (
        404,
        "urn:quadrille:problem:unknown-held-event",
    )
    await reader.until_ready()
    assert reader.stop() == 0
    assert {**before, "held_events": []} == reader.rows()


async def test_position_far_ahead_is_reported_until_forgotten(reader, shop, broker_url) -> None:
    log = orders(12)
    forged = replace(log[0], event_id="forged", position=900_000)
    await publish_raw(broker_url, (forged.subject, encode(forged)))
    await shop.publish(log)
    await until_visible(reader, 12)
    await until_waiting_for(
        reader, "order's log diverges at position 900000: event forged is 899988"
    )
    [event] = (await reader.get("/events/held", source="order", position=900_000))["items"]
    assert event["status"] == "FAR_AHEAD"
    assert (await reader.delete("/events/held/order/900000/forged")).status_code == 204
    await reader.until_ready()


async def test_held_events_are_listed_in_pages(reader, shop) -> None:
    log = orders(6)
    await shop.publish(log[1:])
    await reader.until("/events/held", lambda page: len(page["items"]) == 5)
    first = await reader.get("/events/held", limit=3)
    rest = await reader.get("/events/held", limit=3, cursor=first["nextCursor"])
    positions = [event["position"] for event in first["items"] + rest["items"]]
    assert (positions, rest["nextCursor"]) == ([2, 3, 4, 5, 6], None)
    assert {event["status"] for event in first["items"]} == {"WAITING"}
    assert (await reader.get("/events/held", source="shipping"))["items"] == []
    assert (await reader.get("/events/held", position=7))["items"] == []


async def test_event_stream_resumes_without_loss_or_repetition(reader, shop) -> None:
    logs = busy_shop()
    halves = [
        [log[: len(log) // 2] for log in logs.values()],
        [log[len(log) // 2 :] for log in logs.values()],
    ]
    messages_read: list[dict[str, Any]] = []
    last_id = "order:0"
    for half in halves:
        publishing_half = asyncio.create_task(publish(shop, *half))
        expected = len(messages_read) + sum(map(len, half))
        while len(messages_read) < expected:
            some, last_id = await reader.read(last_id, min(7, expected - len(messages_read)))
            messages_read += some
        await publishing_half
        assert reader.stop() == 0
        reader.delete_database()
        reader.start()
        await reader.until_ready()
    assert places(messages_read) == {
        source: list(range(1, len(log) + 1)) for source, log in logs.items()
    }
    by_id = {event.event_id: event for log in logs.values() for event in log}
    for message in messages_read:
        assert message["event"] == by_id[message["data"]["eventId"]].event_type


async def test_event_stream_starts_with_new_events(reader, shop) -> None:
    log = orders(3)
    await shop.publish(log[:2])
    await reader.until("/orders", lambda page: len(page["items"]) == 2)
    async with reader.stream("/events/stream") as messages:
        opening = await anext(messages)
        await shop.publish(log[2:])
        message = await anext(messages)
    assert opening["id"] == "inventory:0,notifier:0,order:2,shipping:0"
    assert (message["event"], message["data"]["key"]) == ("OrderCreated", "o002")
    [newest] = (await reader.get("/events", limit=1))["items"]
    assert message["data"] == newest


async def test_order_stream_starts_with_its_first_event(reader, shop) -> None:
    ordered = log_of("order", created("o1"), created("o2"), OrderConfirmed(order_id="o1"))
    items = ()
    reserved = log_of("inventory", StockReserved(order_id="o1", items=items))
    sent = log_of("shipping", ShipmentInitiated(order_id="o1", shipment_id="s1", items=items))
    await publish(shop, ordered[:2], reserved)
    await reader.until("/orders", lambda page: len(page["items"]) == 2)
    async with reader.stream("/orders/o1/stream") as messages:
        await anext(messages)
        messages_read = [await anext(messages) for _ in range(2)]
        await publish(shop, ordered[2:], sent)
        messages_read += [await anext(messages) for _ in range(2)]
    assert {message["event"] for message in messages_read[:2]} == {"OrderCreated", "StockReserved"}
    assert {message["event"] for message in messages_read[2:]} == {
        "OrderConfirmed",
        "ShipmentInitiated",
    }
    async with reader.stream("/orders/o1/stream", messages_read[2]["id"]) as messages:
        opening, rest = await anext(messages), await anext(messages)
    assert opening["id"] == messages_read[2]["id"]
    assert rest["data"] == messages_read[3]["data"]


async def test_open_streams_do_not_delay_shutdown(reader, shop) -> None:
    await reader.until_ready()
    async with (
        reader.stream("/events/stream") as events,
        reader.stream("/orders/o1/stream") as order,
    ):
        await anext(events)
        await anext(order)
        assert reader.stop() == 0
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_pages_are_stable_under_inserts(reader, shop) -> None:
    log = orders(25)
    await shop.publish(log[:20])
    await reader.until("/orders", lambda page: len(page["items"]) == 20)
    first = await reader.get("/orders", limit=8)
    await shop.publish(log[20:])
    await reader.until("/orders", lambda page: len(page["items"]) == 25)
    second = await reader.get("/orders", limit=8, cursor=first["nextCursor"])
    third = await reader.get("/orders", limit=8, cursor=second["nextCursor"])
    order_ids = [order["orderId"] for page in (first, second, third) for order in page["items"]]
    assert order_ids == [f"o{number:03}" for number in reversed(range(20))]
    assert third["nextCursor"] is None


async def test_orders_are_filtered_by_customer_status_and_time(reader, shop) -> None:
    log = [*orders(6), *_after(6, OrderConfirmed(order_id="o001"))]
    await shop.publish(log)
    await reader.until("/orders/o001", lambda one: one.get("status") == "AWAITING_SHIPMENT")

    async def ids(**query: Any) -> list[str]:
        return [order["orderId"] for order in (await reader.get("/orders", **query))["items"]]

    assert await ids(userId="u0") == ["o004", "o002", "o000"]
    assert await ids(userId="u1", status="AWAITING_SHIPMENT") == ["o001"]
    moment = {"from": _text(log[1]), "to": _text(log[3])}
    assert await ids(**moment) == ["o002", "o001"]
    assert await ids(**{"from": "0001-01-01T00:00:00+14:00", "to": START.isoformat()}) == []


def _after(position: int, event: Any) -> Log:
    return log_of("order", *[event] * (position + 1))[position:]


def _text(event: RecordedEvent) -> str:
    return event.recorded_at.isoformat()


async def test_catalogue_shows_available_stock(reader, shop) -> None:
    logs = busy_shop()
    await publish(shop, logs["inventory"])
    await until_visible(reader, len(logs["inventory"]))
    products = (await reader.get("/products"))["items"]
    stock = (await reader.get("/inventory"))["items"]
    assert [product["productId"] for product in products] == ["prod001", "prod002"]
    for product, left in zip(products, stock, strict=True):
        assert product["available"] == product["onHand"] - product["reserved"]
        assert (left["onHand"], left["available"]) == (product["onHand"], product["available"])
    assert await reader.get("/products/prod002") == products[1]
    page = await reader.get("/products", limit=1)
    rest = await reader.get("/products", limit=1, cursor=page["nextCursor"])
    assert page["items"] + rest["items"] == products


async def test_events_are_filtered_by_type_source_and_entity(reader, shop) -> None:
    logs = busy_shop()
    await publish(shop, *logs.values())
    await until_visible(reader, sum(map(len, logs.values())))
    page = await reader.get("/events", type="StockReserved", limit=200)
    assert {event["type"] for event in page["items"]} == {"StockReserved"}
    page = await reader.get("/events", source="shipping", key="o1")
    assert {(event["source"], event["key"]) for event in page["items"]} == {("shipping", "o1")}
    shipments = await reader.get("/shipments", status="FAILED")
    assert {shipment["status"] for shipment in shipments["items"]} == {"FAILED"}


async def test_control_characters_in_product_names_are_escaped(reader, shop) -> None:
    name = "\x1b]0;OWNED\x07lamp \x9b31m \u202egnp"
    made = ProductCreated(product_id="p1", name=name, description="", price=1)
    await publish(shop, log_of("inventory", made))
    await reader.until("/products", lambda page: page["items"])
    for option in ([], ["--json"]):
        command = [sys.executable, "-m", "quadrille", "products", *option]
        environment = environment_of(reader._settings)
        ran = await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, check=True
        )
        assert "lamp" in ran.stdout
        assert "\\u202e" in ran.stdout
        assert not set(ran.stdout) & set("\x1b\x07\x9b\u202e")


async def test_events_of_one_batch_page_by_position(reader, shop) -> None:
    log = busy_shop()["inventory"]
    batch = [replace(event, recorded_at=log[0].recorded_at) for event in log]
    await publish(shop, batch)
    await until_visible(reader, len(batch))
    positions, cursor = [], None
    while positions == [] or cursor:
        query = {"cursor": cursor} if cursor else {}
        page = await reader.get("/events", limit=2, **query)
        positions += [event["position"] for event in page["items"]]
        cursor = page["nextCursor"]
    assert positions == [event.position for event in reversed(batch)]


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/orders/none", 404, "unknown-order"),
        ("/orders/none/timeline", 404, "unknown-order"),
        ("/products/none", 404, "unknown-product"),
        ("/nowhere", 404, "not-found"),
        ("/orders?status=SLEEPING", 400, "invalid-request"),
        ("/orders?limit=0", 400, "invalid-request"),
        ("/orders?from=yesterday", 400, "invalid-request"),
        ("/orders?from=2026-11-20", 400, "invalid-request"),
        ("/orders?from=", 400, "invalid-request"),
        ("/orders?to=105795", 400, "invalid-request"),
        ("/orders?to=1e3", 400, "invalid-request"),
        ("/marketing/daily?from=20261120", 400, "invalid-request"),
        ("/marketing/daily?to=1.5", 400, "invalid-request"),
        ("/orders?cursor=invalid", 400, "invalid-request"),
        ("/events?cursor=W10", 400, "invalid-request"),
        ("/shipments?cursor=%C3%BC", 400, "invalid-request"),
        ("/events/held?position=0", 400, "invalid-request"),
        ("/events/held?position=1000000000000000000000", 400, "invalid-request"),
        ("/events/held?cursor=W10", 400, "invalid-request"),
        ("/events/stream?lastEventId=order:-1", 400, "invalid-request"),
        ("/events/stream?lastEventId=nobody:1", 400, "invalid-request"),
        ("/events/stream?lastEventId=order:1,order:2", 400, "invalid-request"),
        (f"/events/stream?lastEventId={'order:1,' * 99}order:1", 400, "invalid-request"),
        ("/products?q=e+t+a+o+i", 400, "invalid-request"),
        ("/products?after=order:1,order:1", 400, "invalid-request"),
        (f"/products?after={'order:1,' * 99}order:1", 400, "invalid-request"),
        ("/orders/o1/stream?lastEventId=order:99999999999999999999", 400, "invalid-request"),
    ],
)
async def test_every_error_is_a_problem(
    read_only: ReadApi, path: str, status: int, slug: str
) -> None:
    await read_only.until("/health/live", lambda answer: answer["status"] == "live")
    answer = await read_only.ask(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:quadrille:problem:{slug}"


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadApi]:
    """One process for requests that need no events and no broker."""
    settings = settings_for(tmp_path_factory.mktemp("read"), "nats://127.0.0.1:1")
    with read_api(settings) as process:
        yield process


async def test_searches_and_open_streams_are_limited(shop_settings: ShopSettings):
    limits = "searches_per_address=2/day,streams_per_address=1"
    with read_api(replace(shop_settings, rate_limits=limits)) as reader:
        await reader.until_ready()
        searches = [await reader.ask("/products", q="keyboard") for _ in range(3)]
        assert [answer.status_code for answer in searches] == [200, 200, 429]
        assert int(searches[-1].headers["Retry-After"]) > 0
        assert (await reader.ask("/products")).status_code == 200

        async with reader.stream("/events/stream"):
            second = await reader.ask("/events/stream")
            assert second.status_code == 429
            assert second.headers["Content-Type"] == "application/problem+json"

        async def is_free() -> bool:
            return await reader.status_of_stream("/events/stream", reader.admin) == 200

        await eventually(is_free)


async def test_streams_and_tokens_continue_during_rebuild(
    reader: ReadApi, shop: JetStreamConnection
):
    log = orders(60)
    await publish(shop, log[:20])
    await reader.get("/orders", after="order:20")
    received: list[int] = []
    async with reader.stream("/events/stream", "order:20") as messages:
        await anext(messages)
        assert (await reader.post("/rebuild")).status_code == 202
        for event in log[20:]:
            await publish(shop, [event])
            order = await reader.get(f"/orders/{event.entity_id}", after=f"order:{event.position}")
            assert order["status"] == "PENDING"
            received.append((await anext(messages))["data"]["position"])
    rebuilds = await reader.until("/rebuild", lambda answer: answer.get("last"))
    assert (rebuilds["last"]["status"], rebuilds["last"]["differences"]) == ("COMPLETED", 0)
    assert received == list(range(21, 61))
    assert len((await reader.get("/orders", limit=100))["items"]) == 60
