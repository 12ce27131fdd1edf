"""Cancellation, expiry and backlog: every order reaches one final status, whichever service was stopped."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.fake_carrier import FakeCarrier
from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json, ShopClient, accepted, rejected

SLOW_CARRIER = {"carrier_min_delay_seconds": "600", "carrier_max_delay_seconds": "600"}
"""A shipment is initiated, and can be cancelled until the carrier has dispatched it."""
CARRIER_SECRET = "between the two of us"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningShop]:
    """A shop whose services may be stopped and given other settings."""
    with RunningShop(tmp_path_factory.mktemp("shop"), carrier_success_rate=1) as shop:
        await shop.start()
        await shop.stock_up(plenty=100_000)
        yield shop


@pytest.fixture
def stuck(shop: RunningShop) -> Iterator[RunningShop]:
    """The shop while its carrier needs ten minutes."""
    with shop.carrier(delay_seconds=600):
        yield shop


async def until_awaiting(shop: RunningShop, order_id: str) -> None:
    await eventually(lambda: shop.status(order_id) == "AWAITING_SHIPMENT", 30)


def shipment_of(shop: RunningShop, order_id: str) -> Json:
    response = shop.admin.get("shipping", f"/shipments/{order_id}")
    assert response.status_code == 200
    shipment: Json = response.json()
    return shipment


def report_delivered(shop: RunningShop, shipment_id: str) -> None:
    report = {"shipmentId": shipment_id, "status": "delivered", "trackingNumber": "T1"}
    body = json.dumps(report).encode()
    signature = hmac.new(CARRIER_SECRET.encode(), body, hashlib.sha256).hexdigest()
    response = httpx.post(
        shop.url("shipping", "/carriers/http/callbacks"),
        content=body,
        headers={"X-Signature": f"sha256={signature}"},
    )
    assert response.status_code == 200, response.text


async def test_undispatched_order_is_cancelled_and_stock_released(
    stuck: RunningShop, aiko: ShopClient
):
    before = stuck.stock("plenty")
    order_id = aiko.order(("plenty", 2))["orderId"]
    await until_awaiting(stuck, order_id)
    assert stuck.stock("plenty") == (before[0], before[1] + 2)
    first = aiko.cancel(order_id)
    assert accepted(first, 202)["status"] == "CANCELLING"
    cancelled = await stuck.until(order_id, "CANCELLED")
    assert cancelled["reason"] == "CUSTOMER"
    assert cancelled["cancellation"] == {"by": "CUSTOMER", "reason": None, "note": None}
    await eventually(lambda: stuck.stock("plenty") == before)
    await stuck.until_timeline(
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
    rejected(aiko.cancel(order_id), 409, "order-final")


async def test_repeated_cancellation_gets_the_same_answer(shop: RunningShop, aiko: ShopClient):
    order_id = aiko.order(("plenty", 1))["orderId"]
    await shop.until(order_id, "COMPLETED")
    shop.terminate("shipping")
    order_id = aiko.order(("plenty", 1))["orderId"]
    await until_awaiting(shop, order_id)
    first, again = aiko.cancel(order_id), aiko.cancel(order_id)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["status"] == "CANCELLING"
    assert again.json() == first.json()
    shop.start_service("shipping", **SLOW_CARRIER)
    await shop.until_ready("shipping")
    await shop.until(order_id, "CANCELLED")
    shop.set_carrier()


async def test_cancelling_final_or_unknown_orders_is_rejected(shop: RunningShop, aiko: ShopClient):
    order_id = aiko.order(("plenty", 1))["orderId"]
    await shop.until(order_id, "COMPLETED")
    rejected(aiko.cancel(order_id), 409, "order-final")
    rejected(aiko.cancel("none"), 404, "unknown-order")
    with shop.guest.new_customer() as ben:
        rejected(ben.cancel(order_id), 404, "unknown-order")


async def test_late_cancellation_is_rejected_and_order_completes(
    shop: RunningShop, aiko: ShopClient
):
    async with FakeCarrier().running() as carrier:
        await shop.restart(
            "shipping", carrier="http", carrier_url=carrier.url, carrier_secret=CARRIER_SECRET
        )
        order_id = aiko.order(("plenty", 1))["orderId"]
        await eventually(lambda: shipment_of(shop, order_id)["status"] == "DISPATCHED", 30)
        assert accepted(aiko.cancel(order_id), 202)["status"] == "CANCELLING"
        await shop.until(order_id, "SHIPPED")
        report_delivered(shop, shipment_of(shop, order_id)["shipmentId"])
        await shop.until(order_id, "COMPLETED")
    await shop.until_timeline(
        order_id,
        "OrderCreated",
        "StockReserved",
        "OrderConfirmed",
        "ShipmentInitiated",
        "ShipmentDispatched",
        "OrderCancellationRequested",
        "ShipmentCancellationRefused",
        "OrderShipped",
        "OrderResumed",
        "ShipmentCompleted",
        "StockDeducted",
        "OrderCompleted",
    )
    await shop.restart("shipping")


async def test_timeline_names_who_asked(stuck: RunningShop, aiko: ShopClient):
    order_id = aiko.order(("plenty", 1))["orderId"]
    await until_awaiting(stuck, order_id)
    accepted(stuck.admin.cancel(order_id), 202)
    await stuck.until(order_id, "CANCELLED")

    def actors(viewer: ShopClient) -> dict[str, str | None]:
        timeline = viewer.show("read", f"/orders/{order_id}/timeline")
        return {event["type"]: event["actor"] for event in timeline["items"]}

    by_all = actors(stuck.admin)
    assert by_all.pop("OrderCreated") == f"customer:{aiko.user_id}"
    assert by_all.pop("OrderCancellationRequested").startswith("admin:")
    assert set(by_all.values()) == {None}
    assert actors(aiko)["OrderCancellationRequested"] == "admin"


async def test_note_of_shops_cancellation_stays_in_shop(stuck: RunningShop):
    address = f"{uuid4().hex}@example.com"
    order_id = stuck.guest.order(("plenty", 1), email=address, locale="en")["orderId"]
    await until_awaiting(stuck, order_id)
    cancel, words = f"/orders/{order_id}/cancel", {"reason": "it broke", "note": "see ticket 7"}
    rejected(stuck.guest.post("order", cancel, words), 403, "forbidden")
    by_shop = {"by": "SHOP", **words}
    assert accepted(stuck.admin.post("order", cancel, words), 202)["cancellation"] == by_shop
    await stuck.until(order_id, "CANCELLED")
    await eventually(lambda: len(stuck.mail.mails(address)) == 2)
    for service in ("order", "read"):
        for viewer, note in ((stuck.admin, "see ticket 7"), (stuck.guest, None)):
            order = viewer.show(service, f"/orders/{order_id}")
            assert (order["reason"], order["cancellation"]) == (
                "CUSTOMER",
                by_shop | {"note": note},
            )
    events = stuck.guest.watch(f"/orders/{order_id}/stream", "OrderCancelled")
    timeline = stuck.guest.show("read", f"/orders/{order_id}/timeline")["items"]
    for visible in (events, timeline):
        assert "it broke" in repr(visible)
        assert "ticket" not in repr(visible)
    assert "ticket" in stuck.admin.get("read", f"/orders/{order_id}/timeline").text
    for part in ("plain", "html"):
        body = stuck.mail.mails(address)[-1].get_body((part,))
        assert body is not None
        text = body.get_content()
        assert "it broke" in text
        assert not any(words in text for words in ("ticket", "As you asked"))


async def test_guest_cancels_by_order_id(stuck: RunningShop):
    nobody = stuck.guest
    order_id = nobody.order(("plenty", 1))["orderId"]
    accepted(nobody.cancel(order_id), 202)
    await stuck.until(order_id, "CANCELLED")


async def test_guests_are_rejected_when_not_allowed(shop: RunningShop, aiko: ShopClient):
    await shop.restart("order", allow_guests="false")
    nobody = shop.guest
    response = nobody.post_order(("plenty", 1))
    rejected(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    aiko.order(("plenty", 1))
    await shop.restart("order")


async def test_order_without_progress_expires(shop: RunningShop, aiko: ShopClient):
    await shop.settle()
    before = shop.stock("plenty")
    shop.terminate("shipping")
    await shop.restart("order", order_timeout_seconds="1")
    order_id = aiko.order(("plenty", 2))["orderId"]
    await eventually(lambda: shop.status(order_id) == "CANCELLING", 30)
    await eventually(lambda: shop.stock("plenty") == (before[0], before[1] + 2))
    shop.start_service("shipping", **SLOW_CARRIER)
    expired = await shop.until(order_id, "EXPIRED")
    assert expired["reason"] == "EXPIRED"
    await eventually(lambda: shop.stock("plenty") == before)
    await shop.restart("order")
    shop.set_carrier()
    await shop.settle()


async def test_overdue_delivery_is_reported_once_and_settled(shop: RunningShop, aiko: ShopClient):
    """No cancellation is requested, neither by the delivery deadline nor after a refused one."""
    await shop.restart("order", delivery_timeout_days="0.00001")
    with shop.carrier(silent_rate=1):
        order_id = aiko.order(("plenty", 2))["orderId"]
        await shop.until(order_id, "SHIPPED")
        accepted(aiko.cancel(order_id), 202)
    overdue = await eventually(lambda: board(shop, "overdue", order_id), 30)
    assert (overdue["status"], overdue["deadlineAt"]) == ("SHIPPED", None)
    before = shop.stock("plenty")
    await settle(shop, order_id, "lost")
    failed = await shop.until(order_id, "SHIPMENT_FAILED")
    assert failed["deliveryOverdueAt"] is not None
    assert failed["reason"] == "LOST"
    await eventually(lambda: shop.stock("plenty") == (before[0] - 2, before[1] - 2))
    await shop.until_timeline(
        order_id,
        *("OrderCreated", "StockReserved", "OrderConfirmed", "ShipmentInitiated"),
        *("ShipmentDispatched", "OrderShipped", "OrderCancellationRequested"),
        *("ShipmentCancellationRefused", "OrderResumed", "DeliveryOverdue"),
        *("ShipmentFailed", "StockWrittenOff", "OrderFailed"),
    )
    await shop.restart("order")
    await shop.settle()


def board(shop: RunningShop, state: str, order_id: str) -> Json | None:
    page = shop.admin.show("read", "/sagas", state=state, orderId=order_id)
    return page["items"][0] if page["items"] else None


async def settle(shop: RunningShop, order_id: str, outcome: str) -> None:
    body = {"outcome": outcome, "note": "a note for the shop"}
    settled = shop.admin.post("shipping", f"/shipments/{order_id}/settle", body)
    accepted(settled, 200)


async def test_deadline_survives_restart(shop: RunningShop, aiko: ShopClient):
    shop.terminate("shipping")
    await shop.restart("order", order_timeout_awaiting_shipment_seconds="5")
    order_id = aiko.order(("plenty", 1))["orderId"]
    await until_awaiting(shop, order_id)
    await shop.restart("order")
    await eventually(lambda: shop.status(order_id) == "CANCELLING", 30)
    shop.start_service("shipping", **SLOW_CARRIER)
    await shop.until(order_id, "EXPIRED")
    shop.set_carrier()


async def test_inventory_backlog_is_handled_after_restart(shop: RunningShop, aiko: ShopClient):
    shop.terminate("inventory")
    order_ids = [aiko.order(("plenty", 1))["orderId"] for _ in range(50)]
    for order_id in order_ids[::5]:
        accepted(aiko.cancel(order_id), 202)
    for order_id in order_ids[::5]:
        await shop.until(order_id, "CANCELLED")
    shop.start_service("inventory")
    await shop.until_ready("inventory")
    await shop.settle()
    ends = {order_id: shop.status(order_id) for order_id in order_ids}
    assert {ends[order_id] for order_id in order_ids[::5]} == {"CANCELLED"}
    assert {end for order_id, end in ends.items() if order_id not in order_ids[::5]} == {
        "COMPLETED"
    }
    assert shop.stock("plenty")[1] == 0
