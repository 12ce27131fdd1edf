"""The three saga outcomes by HTTP and by command line, and which orders are rejected."""

import asyncio
import re
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.addresses import ADDRESS_BODY
from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.saga_outcomes import OUTCOMES, SagaOutcome, assert_outcome
from tests.support.shop_client import order_of
from tests.support.terminal import Terminal


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
async def test_order_reaches_its_outcome(shop: RunningShop, outcome: SagaOutcome):
    await assert_outcome(shop, outcome)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
async def test_command_line_order_reaches_its_outcome(
    shop: RunningShop, outcome: SagaOutcome, tmp_path: Path
):
    async def order(line: tuple[str, int], email: str) -> str:
        product_id, quantity = line
        code, out, err = await asyncio.to_thread(
            Terminal(shop, tmp_path).run,
            *("order", f"{product_id}:{quantity}", "--email", email, "--watch"),
        )
        assert code == (0 if outcome.status == "COMPLETED" else 1), err
        assert out.endswith(f"\n{outcome.status}\n")
        [order_id] = re.findall(r"^Order (\S{36}) of guest: PENDING$", out, re.MULTILINE)
        return order_id

    await assert_outcome(shop, outcome, order)


async def test_order_returns_its_total_and_address(shop: RunningShop):
    placed = shop.guest.order(("plenty", 2), userId="aiko", shippingAddress=ADDRESS_BODY)
    assert (placed["status"], placed["totalAmount"]) == ("PENDING", 2000)
    order = await shop.until(placed["orderId"], "COMPLETED")
    assert order["shipment"]["shippingAddress"] == ADDRESS_BODY


async def test_order_lacking_one_line_reserves_none(shop: RunningShop):
    before = shop.stock("plenty")
    placed = shop.guest.order(("plenty", 1), ("scarce", 11))
    await shop.until(placed["orderId"], "CANCELLED_NO_STOCK")
    assert shop.stock("plenty") == before


async def test_lines_of_one_product_are_added(shop: RunningShop):
    too_many = shop.guest.order(("scarce", 6), ("scarce", 5))
    cancelled = await shop.until(too_many["orderId"], "CANCELLED_NO_STOCK")
    assert [item["requestedQuantity"] for item in cancelled["failedItems"]] == [11]
    enough = shop.guest.order(("plenty", 6), ("plenty", 5))
    completed = await shop.until(enough["orderId"], "COMPLETED")
    assert completed["totalAmount"] == 11_000
    assert completed["reservation"]["items"] == [{"productId": "plenty", "quantity": 11}]


async def test_order_of_unknown_product_is_rejected(shop: RunningShop):
    response = shop.guest.post_order(("plenty", 1), ("prod999", 1))
    assert response.status_code == 422
    problem = response.json()
    assert problem["type"] == "urn:quadrille:problem:unknown-product"
    assert problem["productId"] == "prod999"


async def test_wrong_price_is_rejected_with_current_price(shop: RunningShop):
    item = {"productId": "plenty", "quantity": 1, "price": 1}
    response = shop.admin.post("order", "/orders", order_of([], {"items": [item]}))
    assert response.status_code == 409
    problem = response.json()
    assert problem["type"] == "urn:quadrille:problem:price-changed"
    assert (problem["productId"], problem["price"]) == ("plenty", 1000)
    accepted = shop.admin.post(
        "order", "/orders", order_of([], {"items": [item | {"price": 1000}]})
    )
    assert accepted.status_code == 201


async def test_order_price_follows_the_catalogue(shop: RunningShop):
    await shop.stock_up(fickle=5)
    shop.admin.put("inventory", "/products/fickle", {"name": "Fickle", "price": 1200})
    await eventually(lambda: shop.is_for_sale("fickle", price=1200))
    assert shop.guest.order(("fickle", 1))["totalAmount"] == 1200


async def test_repeated_idempotency_key_replays_first_answer(shop: RunningShop):
    key, customer = str(uuid4()), str(uuid4())
    first = shop.guest.post_order(("plenty", 1), key=key, userId=customer)
    again = shop.guest.post_order(("plenty", 1), key=key, userId=customer)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(shop.admin.show("order", "/orders", userId=customer)["items"]) == 1


async def test_idempotency_key_for_another_order_is_rejected(shop: RunningShop):
    key = str(uuid4())
    shop.guest.post_order(("plenty", 1), key=key)
    other = shop.guest.post_order(("plenty", 2), key=key)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:quadrille:problem:idempotency-key-reused"


async def test_orders_are_served_under_api_prefix(shop: RunningShop):
    placed = shop.admin.post("order", "/api/orders", order_of([("plenty", 1)], {}))
    assert placed.status_code == 201
    assert shop.admin.get("order", f"/api/orders/{placed.json()['orderId']}").status_code == 200


async def test_order_stream_sends_events_as_recorded(shop: RunningShop):
    placed = shop.guest.order(("scarce", 20))
    events = shop.admin.watch(f"/orders/{placed['orderId']}/stream", "OrderCancelled")
    assert [event["type"] for event in events] == [
        "OrderCreated",
        "StockReservationFailed",
        "OrderCancelled",
    ]
