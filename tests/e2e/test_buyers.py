"""For which users customers, guests and the admin may order, and which orders they see."""

from shared.order_number import order_number
from tests.support.running_shop import RunningShop
from tests.support.shop_client import ShopClient, accepted, rejected


async def test_customer_orders_only_as_themselves(aiko: ShopClient, ben: ShopClient):
    plain = aiko.order(("plenty", 1))
    named = aiko.order(("plenty", 1), userId=aiko.user_id)
    assert {order["userId"] for order in (plain, named)} == {aiko.user_id}
    assert aiko.orders() == [named["orderId"], plain["orderId"]]
    rejected(aiko.post_order(("plenty", 1), userId=ben.user_id), 403, "forbidden")
    assert ben.orders() == []


async def test_admin_orders_for_any_user(shop: RunningShop, aiko: ShopClient, admin: ShopClient):
    order = admin.order(("plenty", 1), userId=aiko.user_id)
    assert (order["userId"], order["guest"]) == (aiko.user_id, False)
    assert aiko.orders() == [order["orderId"]]
    document = await shop.until(order["orderId"], "COMPLETED")
    assert order["orderNumber"] == document["orderNumber"] == order_number(order["orderId"])
    assert aiko.show("order", f"/orders/{order['orderId']}") == aiko.show(
        "order", f"/api/orders/{order['orderId']}"
    )


async def test_guest_orders_under_any_name_without_its_rights(shop: RunningShop, aiko: ShopClient):
    nobody = shop.guest
    unnamed = nobody.order(("plenty", 1))
    posing = nobody.order(("plenty", 1), userId=aiko.user_id)
    assert (unnamed["userId"], unnamed["guest"]) == ("guest", True)
    assert (posing["userId"], posing["guest"]) == (aiko.user_id, True)
    assert nobody.show("order", f"/orders/{posing['orderId']}")["orderId"] == posing["orderId"]
    own = aiko.order(("plenty", 1))
    assert aiko.orders() == [own["orderId"]]


async def test_orders_are_listed_newest_first_in_pages(aiko: ShopClient):
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


async def test_orders_of_others_are_not_visible(
    shop: RunningShop, aiko: ShopClient, ben: ShopClient
):
    order_id = aiko.order(("plenty", 1))["orderId"]
    rejected(ben.ask("GET", "order", f"/orders?userId={aiko.user_id}"), 403, "forbidden")
    nobody = shop.guest
    for stranger in (ben, nobody):
        rejected(stranger.ask("GET", "order", f"/orders/{order_id}"), 404, "unknown-order")
        rejected(stranger.cancel(order_id), 404, "unknown-order")
    rejected(nobody.ask("GET", "order", "/orders"), 401, "unauthorized")
    assert ben.orders() == []


async def test_order_of_customer_is_completed(shop: RunningShop, aiko: ShopClient):
    order = accepted(aiko.post_order(("plenty", 2), email=aiko.email, locale="ja"), 201)
    listed = await shop.until(order["orderId"], "COMPLETED")
    assert listed["userId"] == aiko.user_id
