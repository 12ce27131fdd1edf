"""The three dances, and what the order desk refuses, through HTTP only."""

from uuid import uuid4

from tests.support.eventually import eventually
from tests.support.running_shop import Fleet


async def test_an_order_is_carried_to_its_door(shop: Fleet):
    on_hand, _ = shop.stock("plenty")
    address = {"name": "Aiko", "city": "Kyoto"}
    placed = shop.order(("plenty", 2), userId="aiko", shippingAddress=address)
    assert placed["status"] == "PENDING"
    assert placed["totalAmount"] == 2000
    order_id = placed["orderId"]
    shown = await shop.until(order_id, "COMPLETED")
    assert shown["trackingNumber"] == shown["shipment"]["trackingNumber"]
    assert shown["shipment"]["status"] == "COMPLETED"
    assert shown["shipment"]["shippingAddress"] == address
    await shop.until_story(
        order_id,
        "OrderCreated",
        "StockReserved",
        "OrderConfirmed",
        "ShipmentInitiated",
        "ShipmentCompleted",
        "StockDeducted",
        "OrderCompleted",
    )
    assert shop.stock("plenty") == (on_hand - 2, 0)
    assert shop.show("read", f"/orders/{order_id}")["reservation"]["status"] == "DEDUCTED"


async def test_twenty_of_ten_are_not_sold(shop: Fleet):
    placed = shop.order(("prod001", 20))
    shown = await shop.until(placed["orderId"], "CANCELLED_NO_STOCK")
    assert shown["reason"] == "NO_STOCK"
    assert shown["failedItems"] == [
        {"productId": "prod001", "requestedQuantity": 20, "availableQuantity": 10}
    ]
    assert shown["shipment"] is None
    await shop.until_story(
        placed["orderId"], "OrderCreated", "StockReservationFailed", "OrderCancelled"
    )
    assert shop.stock("prod001") == (10, 0)


async def test_an_order_that_lacks_one_line_holds_none(shop: Fleet):
    before = shop.stock("plenty")
    placed = shop.order(("plenty", 1), ("prod001", 11))
    await shop.until(placed["orderId"], "CANCELLED_NO_STOCK")
    assert shop.stock("plenty") == before


async def test_what_no_carrier_takes_goes_back_on_the_shelf(declining: Fleet):
    before = declining.stock("plenty")
    placed = declining.order(("plenty", 3))
    order_id = placed["orderId"]
    shown = await declining.until(order_id, "SHIPMENT_FAILED")
    assert shown["shipment"]["status"] == "FAILED"
    await declining.until_story(
        order_id,
        "OrderCreated",
        "StockReserved",
        "OrderConfirmed",
        "ShipmentInitiated",
        "ShipmentFailed",
        "StockReleased",
        "OrderFailed",
    )
    assert declining.stock("plenty") == before
    assert declining.show("read", f"/orders/{order_id}")["reservation"]["status"] == "RELEASED"


async def test_the_same_product_on_two_lines_counts_together(shop: Fleet):
    too_much = shop.order(("prod001", 6), ("prod001", 5))
    shown = await shop.until(too_much["orderId"], "CANCELLED_NO_STOCK")
    assert [short["requestedQuantity"] for short in shown["failedItems"]] == [11]
    enough = shop.order(("plenty", 6), ("plenty", 5))
    shown = await shop.until(enough["orderId"], "COMPLETED")
    assert shown["totalAmount"] == 11_000
    assert shown["reservation"]["items"] == [{"productId": "plenty", "quantity": 11}]


async def test_a_product_nobody_knows_is_not_ordered(shop: Fleet):
    refused = shop.post_order(("plenty", 1), ("prod999", 1))
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["type"] == "urn:quadrille:problem:unknown-product"
    assert problem["productId"] == "prod999"


async def test_a_price_that_is_not_the_list_price_is_refused_with_the_present_one(shop: Fleet):
    item = {"productId": "plenty", "quantity": 1, "price": 1}
    refused = shop.post("order", "/orders", {"items": [item]})
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["type"] == "urn:quadrille:problem:price-changed"
    assert (problem["productId"], problem["price"]) == ("plenty", 1000)
    accepted = shop.post("order", "/orders", {"items": [item | {"price": 1000}]})
    assert accepted.status_code == 201


async def test_the_price_list_follows_the_catalogue(shop: Fleet):
    await shop.stock_up(fickle=5)
    shop.put("inventory", "/products/fickle", {"name": "Fickle", "price": 1200})
    await eventually(lambda: shop.is_for_sale("fickle", price=1200))
    assert shop.order(("fickle", 1))["totalAmount"] == 1200


async def test_a_key_used_again_gets_the_first_answer_again(shop: Fleet):
    key, customer = str(uuid4()), str(uuid4())
    first = shop.post_order(("plenty", 1), key=key, userId=customer)
    again = shop.post_order(("plenty", 1), key=key, userId=customer)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(shop.show("order", "/orders", userId=customer)["items"]) == 1


async def test_a_key_used_for_something_else_is_refused(shop: Fleet):
    key = str(uuid4())
    shop.post_order(("plenty", 1), key=key)
    other = shop.post_order(("plenty", 2), key=key)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:quadrille:problem:idempotency-key-reused"


async def test_the_shop_answers_under_api_too(shop: Fleet):
    placed = shop.post("order", "/api/orders", {"items": [{"productId": "plenty", "quantity": 1}]})
    assert placed.status_code == 201
    assert shop.get("order", f"/api/orders/{placed.json()['orderId']}").status_code == 200


async def test_an_order_can_be_watched_as_it_goes(shop: Fleet):
    placed = shop.order(("prod001", 20))
    watched = shop.watch(f"/orders/{placed['orderId']}/stream", "OrderCancelled")
    assert [event["type"] for event in watched] == [
        "OrderCreated",
        "StockReservationFailed",
        "OrderCancelled",
    ]
