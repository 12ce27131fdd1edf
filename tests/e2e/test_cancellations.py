"""Cancellation, expiry and backlog: whatever was away when, each order comes to its one end."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.fake_carrier import FakeCarrier
from tests.support.http_clients import Person, accepted, guest, newcomer, refused
from tests.support.running_shop import Fleet, Json

UNREACHABLE = {"carrier_outage_rate": "1"}
"""A shipment is begun, and can still be stopped, for as long as no carrier can be booked."""

SECRET = "between the two of us"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """A shop whose services may be stopped, and told otherwise."""
    with Fleet(tmp_path_factory.mktemp("shop"), carrier_success_rate=1) as fleet:
        await fleet.start()
        await fleet.stock_up(plenty=100_000)
        yield fleet


@pytest.fixture
def aiko(shop: Fleet) -> Iterator[Person]:
    with newcomer(shop) as person:
        yield person


@pytest.fixture
async def stuck(shop: Fleet) -> AsyncIterator[Fleet]:
    """The shop while no carrier can be reached."""
    await shop.restart("shipping", **UNREACHABLE)
    yield shop
    await shop.restart("shipping")


async def until_awaiting(shop: Fleet, order_id: str) -> None:
    await eventually(lambda: shop.status(order_id) == "AWAITING_SHIPMENT", 30)


def shipment_of(shop: Fleet, order_id: str) -> Json:
    response = shop.get("shipping", f"/shipments/{order_id}")
    assert response.status_code == 200
    shipment: Json = response.json()
    return shipment


def report_delivered(shop: Fleet, shipment_id: str) -> None:
    report = {"shipmentId": shipment_id, "status": "delivered", "trackingNumber": "T1"}
    body = json.dumps(report).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    response = httpx.post(
        shop.url("shipping", "/carriers/http/callbacks"),
        content=body,
        headers={"X-Signature": f"sha256={signature}"},
    )
    assert response.status_code == 200, response.text


async def test_an_order_that_no_carrier_has_is_cancelled(stuck: Fleet, aiko: Person):
    before = stuck.stock("plenty")
    order_id = aiko.order(("plenty", 2))["orderId"]
    await until_awaiting(stuck, order_id)
    assert stuck.stock("plenty") == (before[0], before[1] + 2)
    first = aiko.cancel(order_id)
    assert accepted(first, 202)["status"] == "CANCELLING"
    shown = await stuck.until(order_id, "CANCELLED")
    assert shown["reason"] == "CUSTOMER"
    await eventually(lambda: stuck.stock("plenty") == before)
    await stuck.until_story(
        order_id,
        "OrderCreated",
        "StockReserved",
        "OrderConfirmed",
        "ShipmentInitiated",
        "OrderCancellationRequested",
        "ShipmentCancelled",
        "StockReleased",
        "OrderCancelled",
    )
    refused(aiko.cancel(order_id), 409, "order-final")


async def test_whoever_asks_twice_is_answered_alike(shop: Fleet, aiko: Person):
    order_id = aiko.order(("plenty", 1))["orderId"]
    await shop.until(order_id, "COMPLETED")
    shop.terminate("shipping")
    order_id = aiko.order(("plenty", 1))["orderId"]
    await until_awaiting(shop, order_id)
    first, again = aiko.cancel(order_id), aiko.cancel(order_id)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["status"] == "CANCELLING"
    assert again.json() == first.json()
    shop.start_service("shipping", **UNREACHABLE)
    await shop.until_ready("shipping")
    await shop.until(order_id, "CANCELLED")
    await shop.restart("shipping")


async def test_what_is_over_or_nobodys_can_not_be_cancelled(shop: Fleet, aiko: Person):
    order_id = aiko.order(("plenty", 1))["orderId"]
    await shop.until(order_id, "COMPLETED")
    refused(aiko.cancel(order_id), 409, "order-final")
    refused(aiko.cancel("none"), 404, "unknown-order")
    with newcomer(shop) as ben:
        refused(ben.cancel(order_id), 404, "unknown-order")


async def test_one_who_cancels_too_late_gets_his_order(shop: Fleet, aiko: Person):
    async with FakeCarrier().running() as carrier:
        await shop.restart(
            "shipping", carrier="http", carrier_url=carrier.url, carrier_secret=SECRET
        )
        order_id = aiko.order(("plenty", 1))["orderId"]
        await eventually(lambda: shipment_of(shop, order_id)["status"] == "DISPATCHED", 30)
        assert accepted(aiko.cancel(order_id), 202)["status"] == "CANCELLING"
        await until_awaiting(shop, order_id)
        report_delivered(shop, shipment_of(shop, order_id)["shipmentId"])
        await shop.until(order_id, "COMPLETED")
    await shop.until_story(
        order_id,
        "OrderCreated",
        "StockReserved",
        "OrderConfirmed",
        "ShipmentInitiated",
        "ShipmentDispatched",
        "OrderCancellationRequested",
        "ShipmentCancellationRefused",
        "OrderResumed",
        "ShipmentCompleted",
        "StockDeducted",
        "OrderCompleted",
    )
    await shop.restart("shipping")


async def test_a_guest_who_knows_the_id_may_cancel(stuck: Fleet):
    with guest(stuck) as nobody:
        order_id = nobody.order(("plenty", 1))["orderId"]
        accepted(nobody.cancel(order_id), 202)
    await stuck.until(order_id, "CANCELLED")


async def test_guests_may_be_turned_away(shop: Fleet, aiko: Person):
    await shop.restart("order", allow_guests="false")
    with guest(shop) as nobody:
        turned_away = nobody.post_order(("plenty", 1))
        refused(turned_away, 401, "unauthorized")
        assert turned_away.headers["WWW-Authenticate"] == "Bearer"
    aiko.order(("plenty", 1))
    await shop.restart("order")


async def test_an_order_that_gets_nowhere_expires(shop: Fleet, aiko: Person):
    await shop.settle()
    before = shop.stock("plenty")
    shop.terminate("shipping")
    await shop.restart("order", order_timeout_seconds="1")
    order_id = aiko.order(("plenty", 2))["orderId"]
    await eventually(lambda: shop.status(order_id) == "CANCELLING", 30)
    await eventually(lambda: shop.stock("plenty") == (before[0], before[1] + 2))
    shop.start_service("shipping", **UNREACHABLE)
    shown = await shop.until(order_id, "EXPIRED")
    assert shown["reason"] == "EXPIRED"
    await eventually(lambda: shop.stock("plenty") == before)
    await shop.restart("order")
    await shop.until_ready("shipping")
    await shop.restart("shipping")
    await shop.settle()


async def test_a_deadline_survives_a_restart(shop: Fleet, aiko: Person):
    shop.terminate("shipping")
    await shop.restart("order", order_timeout_awaiting_shipment_seconds="5")
    order_id = aiko.order(("plenty", 1))["orderId"]
    await until_awaiting(shop, order_id)
    await shop.restart("order")
    await eventually(lambda: shop.status(order_id) == "CANCELLING", 30)
    shop.start_service("shipping", **UNREACHABLE)
    await shop.until(order_id, "EXPIRED")
    await shop.until_ready("shipping")
    await shop.restart("shipping")


async def test_inventory_finds_its_backlog_and_each_order_its_end(shop: Fleet, aiko: Person):
    shop.terminate("inventory")
    placed = [aiko.order(("plenty", 1))["orderId"] for _ in range(50)]
    for order_id in placed[::5]:
        accepted(aiko.cancel(order_id), 202)
    for order_id in placed[::5]:
        await shop.until(order_id, "CANCELLED")
    shop.start_service("inventory")
    await shop.until_ready("inventory")
    await shop.settle()
    ends = {order_id: shop.status(order_id) for order_id in placed}
    assert {ends[order_id] for order_id in placed[::5]} == {"CANCELLED"}
    assert {end for order_id, end in ends.items() if order_id not in placed[::5]} == {"COMPLETED"}
    assert shop.stock("plenty")[1] == 0
