"""For which users customers, guests and the admin may order, and which orders they see."""

import pytest

from tests.support.http_clients import Person, accepted, guest, newcomer, refused
from tests.support.running_shop import Fleet


@pytest.fixture
def aiko(shop: Fleet):
    with newcomer(shop) as person:
        yield person


@pytest.fixture
def ben(shop: Fleet):
    with newcomer(shop) as person:
        yield person


async def test_customer_orders_only_as_themselves(aiko: Person, ben: Person):
    plain = aiko.order(("plenty", 1))
    named = aiko.order(("plenty", 1), userId=aiko.user_id)
    assert {order["userId"] for order in (plain, named)} == {aiko.user_id}
    assert aiko.orders() == [named["orderId"], plain["orderId"]]
    refused(aiko.post_order(("plenty", 1), userId=ben.user_id), 403, "forbidden")
    assert ben.orders() == []


async def test_admin_orders_for_any_user(shop: Fleet, aiko: Person, admin: Person):
    order = admin.order(("plenty", 1), userId=aiko.user_id)
    assert (order["userId"], order["guest"]) == (aiko.user_id, False)
    assert aiko.orders() == [order["orderId"]]
    await shop.until(order["orderId"], "COMPLETED")
    assert aiko.show("order", f"/orders/{order['orderId']}") == aiko.show(
        "order", f"/api/orders/{order['orderId']}"
    )


async def test_guest_orders_under_any_name_without_its_rights(shop: Fleet, aiko: Person):
    with guest(shop) as nobody:
        unnamed = nobody.order(("plenty", 1))
        posing = nobody.order(("plenty", 1), userId=aiko.user_id)
        assert (unnamed["userId"], unnamed["guest"]) == ("guest", True)
        assert (posing["userId"], posing["guest"]) == (aiko.user_id, True)
        assert nobody.show("order", f"/orders/{posing['orderId']}")["orderId"] == posing["orderId"]
    own = aiko.order(("plenty", 1))
    assert aiko.orders() == [own["orderId"]]


async def test_orders_are_listed_newest_first_in_pages(aiko: Person):
    placed = [aiko.order(("plenty", 1))["orderId"] for _ in range(5)]
    path, order_ids = "/orders?limit=2", []
    while path:
        page = aiko.show("order", path)
        order_ids += [order["orderId"] for order in page["items"]]
        cursor = page["nextCursor"]
        path = cursor and f"/orders?limit=2&cursor={cursor}"
        if len(order_ids) == 2:
            aiko.order(("plenty", 1))
    assert order_ids == placed[::-1]


async def test_orders_of_others_are_not_visible(shop: Fleet, aiko: Person, ben: Person):
    order_id = aiko.order(("plenty", 1))["orderId"]
    refused(ben.ask("GET", "order", f"/orders?userId={aiko.user_id}"), 403, "forbidden")
    with guest(shop) as nobody:
        for stranger in (ben, nobody):
            refused(stranger.ask("GET", "order", f"/orders/{order_id}"), 404, "unknown-order")
            refused(stranger.cancel(order_id), 404, "unknown-order")
        refused(nobody.ask("GET", "order", "/orders"), 401, "unauthorized")
    assert ben.orders() == []


async def test_order_of_customer_is_completed(shop: Fleet, aiko: Person):
    order = accepted(aiko.post_order(("plenty", 2), email=aiko.email, locale="ja"), 201)
    completed = await shop.until(order["orderId"], "COMPLETED")
    assert completed["userId"] == aiko.user_id
