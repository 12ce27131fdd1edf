"""Carts, and their checkout at the prices that the customer saw."""

import asyncio
from uuid import uuid4

from tests.support.addresses import ADDRESS_BODY
from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_client import ShopClient, accepted, rejected


async def fresh_product(shop: RunningShop, stock: int = 10) -> str:
    """The id of a product that no other test uses, at 1,000."""
    product_id = f"p{uuid4().hex}"
    await shop.stock_up(**{product_id: stock})
    return product_id


async def test_cart_is_filled_and_emptied(shop: RunningShop, aiko: ShopClient):
    one, two = await fresh_product(shop), await fresh_product(shop)
    assert aiko.cart() == []
    aiko.add(one, 2)
    aiko.add(two)
    filled = aiko.add(one)
    assert filled["totalAmount"] == 4000
    assert filled["currency"] == "JPY"
    assert aiko.cart() == [(one, 3, 1000), (two, 1, 1000)]
    changed = aiko.ask("PUT", "order", f"/cart/items/{one}", {"quantity": 1})
    assert [item["quantity"] for item in accepted(changed, 200)["items"]] == [1, 1]
    left = aiko.ask("DELETE", "order", f"/cart/items/{one}")
    assert [item["productId"] for item in accepted(left, 200)["items"]] == [two]
    emptied = aiko.ask("DELETE", "order", "/cart")
    assert accepted(emptied, 200)["items"] == []
    assert aiko.cart() == []


async def test_unknown_cart_items_are_rejected(shop: RunningShop, aiko: ShopClient):
    body = {"productId": "prod999", "quantity": 1}
    rejected(aiko.ask("POST", "order", "/cart/items", body), 422, "unknown-product")
    rejected(aiko.ask("DELETE", "order", "/cart/items/scarce"), 404, "not-in-cart")
    rejected(aiko.ask("PUT", "order", "/cart/items/scarce", {"quantity": 1}), 404, "not-in-cart")


async def test_checkout_creates_order_and_empties_cart(shop: RunningShop, aiko: ShopClient):
    aiko.add("plenty", 2)
    checkout = aiko.check_out()
    order = accepted(checkout, 201)
    assert (order["userId"], order["status"], order["totalAmount"]) == (
        aiko.user_id,
        "PENDING",
        2000,
    )
    assert order["guest"] is False
    assert checkout.headers["Location"] == f"/orders/{order['orderId']}"
    assert aiko.cart() == []
    assert aiko.orders() == [order["orderId"]]
    completed = await shop.until(order["orderId"], "COMPLETED")
    assert completed["shipment"]["shippingAddress"] == ADDRESS_BODY


async def test_orders_are_shipped_to_addresses_by_name(shop: RunningShop, aiko: ShopClient):
    home, work = ADDRESS_BODY | {"city": "Kyoto"}, ADDRESS_BODY | {"city": "Osaka"}
    accepted(aiko.put("order", "/me/addresses/home", home), 200)
    accepted(aiko.put("order", "/me/addresses/work", work), 200)
    aiko.add("plenty")
    checkout = accepted(aiko.post("order", "/cart/checkout", {"addressName": "home"}), 201)
    body = {"items": [{"productId": "plenty", "quantity": 1}], "addressName": "work"}
    order = accepted(aiko.post("order", "/orders", body), 201)
    accepted(aiko.ask("DELETE", "order", "/me/addresses/home"), 200)
    for placed, address in ((checkout, home), (order, work)):
        assert placed["shippingAddress"] == address
        completed = await shop.until(placed["orderId"], "COMPLETED")
        assert completed["shipment"]["shippingAddress"] == address


async def test_checkout_without_address_is_refused(shop: RunningShop, aiko: ShopClient):
    aiko.add("plenty")
    checkout = aiko.ask("POST", "order", "/cart/checkout")
    problem = rejected(checkout, 400, "invalid-request")
    assert problem["errors"] == [{"field": "shippingAddress", "message": "required"}]
    assert aiko.cart() == [("plenty", 1, 1000)]


async def test_order_without_items_is_a_checkout(shop: RunningShop, aiko: ShopClient):
    aiko.add("plenty")
    order = accepted(aiko.post_order(), 201)
    assert [item["productId"] for item in order["items"]] == ["plenty"]
    assert aiko.cart() == []
    rejected(aiko.post_order(), 422, "cart-empty")


async def test_guest_has_no_cart(shop: RunningShop):
    nobody = shop.guest
    problem = rejected(nobody.post_order(), 400, "invalid-request")
    assert problem["errors"] == [{"field": "items", "message": "required"}]
    rejected(nobody.ask("GET", "order", "/cart"), 401, "unauthorized")


async def test_checkout_at_changed_price_is_rejected(shop: RunningShop, aiko: ShopClient):
    product_id = await fresh_product(shop)
    aiko.add("plenty")
    aiko.add(product_id, 2)
    before = aiko.cart()
    shop.admin.put("inventory", f"/products/{product_id}", {"name": "Dearer", "price": 1200})
    await eventually(lambda: shop.is_for_sale(product_id, price=1200))
    for attempt in (aiko.check_out(), aiko.post_order()):
        problem = rejected(attempt, 409, "price-changed")
        assert (problem["productId"], problem["price"]) == (product_id, 1200)
    assert aiko.cart() == before
    assert aiko.orders() == []
    item = aiko.show("order", "/cart")["items"][1]
    assert (item["price"], item["currentPrice"]) == (1000, 1200)
    accepted(aiko.ask("PUT", "order", f"/cart/items/{product_id}", {"quantity": 2}), 200)
    order = accepted(aiko.check_out(), 201)
    assert order["totalAmount"] == 3400


async def test_checkout_of_deleted_product_is_rejected(
    shop: RunningShop, aiko: ShopClient, admin: ShopClient
):
    product_id = await fresh_product(shop)
    aiko.add(product_id)
    before = aiko.cart()
    accepted(admin.ask("DELETE", "inventory", f"/products/{product_id}"), 200)
    await eventually(lambda: aiko.show("order", "/cart")["items"][0]["currentPrice"] is None)
    problem = rejected(aiko.check_out(), 422, "unknown-product")
    assert problem["productId"] == product_id
    assert aiko.cart() == before
    assert aiko.orders() == []


async def test_repeated_checkout_creates_one_order(shop: RunningShop, aiko: ShopClient):
    aiko.add("plenty")
    key = str(uuid4())
    first = aiko.check_out(key=key)
    aiko.add("plenty", 5)
    again = aiko.check_out(key=key)
    assert (first.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert aiko.cart() == [("plenty", 5, 1000)]
    assert len(aiko.orders()) == 1


async def test_concurrent_checkouts_create_one_order(shop: RunningShop, aiko: ShopClient):
    aiko.add("plenty", 3)
    answers = await asyncio.gather(*(asyncio.to_thread(aiko.check_out) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 7
    assert len(aiko.orders()) == 1
    assert aiko.cart() == []


async def test_customers_have_separate_carts(aiko: ShopClient, ben: ShopClient):
    aiko.add("plenty", 3)
    ben.add("scarce")
    assert ben.cart() == [("scarce", 1, 1000)]
    ben.ask("DELETE", "order", "/cart")
    assert aiko.cart() == [("plenty", 3, 1000)]
