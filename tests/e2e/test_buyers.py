"""Who orders for whom, and whose orders one sees."""

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


async def test_a_customer_orders_for_himself_only(aiko: Person, ben: Person):
    plain = aiko.order(("plenty", 1))
    named = aiko.order(("plenty", 1), userId=aiko.user_id)
    assert {order["userId"] for order in (plain, named)} == {aiko.user_id}
    assert aiko.orders() == [named["orderId"], plain["orderId"]]
    refused(aiko.post_order(("plenty", 1), userId=ben.user_id), 403, "forbidden")
    assert ben.orders() == []


async def test_an_admin_orders_for_anyone(shop: Fleet, aiko: Person, admin: Person):
    order = admin.order(("plenty", 1), userId=aiko.user_id)
    assert (order["userId"], order["guest"]) == (aiko.user_id, False)
    assert aiko.orders() == [order["orderId"]]
    await shop.until(order["orderId"], "COMPLETED")
    assert aiko.show("order", f"/orders/{order['orderId']}") == aiko.show(
        "order", f"/api/orders/{order['orderId']}"
    )


async def test_a_guest_may_call_himself_anything_and_is_nobody_by_it(shop: Fleet, aiko: Person):
    with guest(shop) as nobody:
        unnamed = nobody.order(("plenty", 1))
        posing = nobody.order(("plenty", 1), userId=aiko.user_id)
        assert (unnamed["userId"], unnamed["guest"]) == ("guest", True)
        assert (posing["userId"], posing["guest"]) == (aiko.user_id, True)
        assert nobody.show("order", f"/orders/{posing['orderId']}")["orderId"] == posing["orderId"]
    own = aiko.order(("plenty", 1))
    assert aiko.orders() == [own["orderId"]]


async def test_a_list_is_read_page_by_page_newest_first(aiko: Person):
    placed = [aiko.order(("plenty", 1))["orderId"] for _ in range(5)]
    path, seen = "/orders?limit=2", []
    while path:
        page = aiko.show("order", path)
        seen += [order["orderId"] for order in page["items"]]
        cursor = page["nextCursor"]
        path = cursor and f"/orders?limit=2&cursor={cursor}"
        if len(seen) == 2:
            aiko.order(("plenty", 1))
    assert seen == placed[::-1]


async def test_orders_of_another_are_neither_listed_nor_known(
    shop: Fleet, aiko: Person, ben: Person
):
    order_id = aiko.order(("plenty", 1))["orderId"]
    refused(ben.ask("GET", "order", f"/orders?userId={aiko.user_id}"), 403, "forbidden")
    with guest(shop) as nobody:
        for stranger in (ben, nobody):
            refused(stranger.ask("GET", "order", f"/orders/{order_id}"), 404, "unknown-order")
            refused(stranger.cancel(order_id), 404, "unknown-order")
        refused(nobody.ask("GET", "order", "/orders"), 401, "unauthorized")
    assert ben.orders() == []


async def test_what_a_customer_orders_is_carried_out(shop: Fleet, aiko: Person):
    order = accepted(aiko.post_order(("plenty", 2), email=aiko.email, locale="ja"), 201)
    shown = await shop.until(order["orderId"], "COMPLETED")
    assert shown["userId"] == aiko.user_id
