"""From a cart to an order: at the prices the customer saw, and once."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.support.eventually import eventually
from tests.support.http_clients import Person, accepted, guest, newcomer, refused
from tests.support.running_shop import Fleet


@pytest.fixture
def aiko(shop: Fleet) -> Iterator[Person]:
    with newcomer(shop) as person:
        yield person


async def fresh_product(shop: Fleet, stock: int = 10) -> str:
    """The id of a product that no other test touches, at 1,000."""
    product_id = f"p{uuid4().hex}"
    await shop.stock_up(**{product_id: stock})
    return product_id


async def test_a_cart_is_filled_and_emptied(shop: Fleet, aiko: Person):
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


async def test_what_is_not_there_can_not_be_put_in_or_taken_out(shop: Fleet, aiko: Person):
    body = {"productId": "prod999", "quantity": 1}
    refused(aiko.ask("POST", "order", "/cart/items", body), 422, "unknown-product")
    refused(aiko.ask("DELETE", "order", "/cart/items/prod001"), 404, "not-in-cart")
    refused(aiko.ask("PUT", "order", "/cart/items/prod001", {"quantity": 1}), 404, "not-in-cart")


async def test_a_checkout_makes_an_order_and_empties_the_cart(shop: Fleet, aiko: Person):
    aiko.add("plenty", 2)
    address = {"city": "Kyoto"}
    checkout = aiko.ask("POST", "order", "/cart/checkout", {"shippingAddress": address})
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
    shown = await shop.until(order["orderId"], "COMPLETED")
    assert shown["shipment"]["shippingAddress"] == address


async def test_a_checkout_needs_no_body(shop: Fleet, aiko: Person):
    aiko.add("plenty")
    assert aiko.ask("POST", "order", "/cart/checkout").status_code == 201


async def test_an_order_without_items_is_a_checkout(shop: Fleet, aiko: Person):
    aiko.add("plenty")
    order = accepted(aiko.post_order(), 201)
    assert [item["productId"] for item in order["items"]] == ["plenty"]
    assert aiko.cart() == []
    refused(aiko.post_order(), 422, "cart-empty")


async def test_a_guest_has_no_cart(shop: Fleet):
    with guest(shop) as nobody:
        problem = refused(nobody.post_order(), 400, "invalid-request")
        assert problem["errors"] == [{"field": "items", "message": "required"}]
        refused(nobody.ask("GET", "order", "/cart"), 401, "unauthorized")


async def test_a_price_that_changed_is_named_and_the_cart_is_left(shop: Fleet, aiko: Person):
    product_id = await fresh_product(shop)
    aiko.add("plenty")
    aiko.add(product_id, 2)
    before = aiko.cart()
    shop.put("inventory", f"/products/{product_id}", {"name": "Dearer", "price": 1200})
    await eventually(lambda: shop.is_for_sale(product_id, price=1200))
    for attempt in (aiko.ask("POST", "order", "/cart/checkout", {}), aiko.post_order()):
        problem = refused(attempt, 409, "price-changed")
        assert (problem["productId"], problem["price"]) == (product_id, 1200)
    assert aiko.cart() == before
    assert aiko.orders() == []
    shown = aiko.show("order", "/cart")["items"][1]
    assert (shown["price"], shown["currentPrice"]) == (1000, 1200)
    accepted(aiko.ask("PUT", "order", f"/cart/items/{product_id}", {"quantity": 2}), 200)
    order = accepted(aiko.ask("POST", "order", "/cart/checkout", {}), 201)
    assert order["totalAmount"] == 3400


async def test_a_deleted_product_is_named_and_the_cart_is_left(
    shop: Fleet, aiko: Person, admin: Person
):
    product_id = await fresh_product(shop)
    aiko.add(product_id)
    before = aiko.cart()
    accepted(admin.ask("DELETE", "inventory", f"/products/{product_id}"), 200)
    await eventually(lambda: aiko.show("order", "/cart")["items"][0]["currentPrice"] is None)
    problem = refused(aiko.ask("POST", "order", "/cart/checkout", {}), 422, "unknown-product")
    assert problem["productId"] == product_id
    assert aiko.cart() == before
    assert aiko.orders() == []


async def test_a_checkout_under_one_key_is_one_order(shop: Fleet, aiko: Person):
    aiko.add("plenty")
    key = str(uuid4())
    first = aiko.ask("POST", "order", "/cart/checkout", {}, key=key)
    aiko.add("plenty", 5)
    again = aiko.ask("POST", "order", "/cart/checkout", {}, key=key)
    assert (first.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert aiko.cart() == [("plenty", 5, 1000)]
    assert len(aiko.orders()) == 1


async def test_of_many_checkouts_at_once_one_makes_an_order(shop: Fleet, aiko: Person):
    aiko.add("plenty", 3)
    answers = await asyncio.gather(
        *(asyncio.to_thread(aiko.ask, "POST", "order", "/cart/checkout", {}) for _ in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 7
    assert len(aiko.orders()) == 1
    assert aiko.cart() == []


async def test_a_cart_is_its_owners_alone(shop: Fleet, aiko: Person):
    aiko.add("plenty", 3)
    with newcomer(shop) as ben:
        ben.add("prod001")
        assert ben.cart() == [("prod001", 1, 1000)]
        ben.ask("DELETE", "order", "/cart")
    assert aiko.cart() == [("plenty", 3, 1000)]
