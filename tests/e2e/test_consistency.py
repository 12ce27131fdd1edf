"""Consistency tokens: a read API query with a command's token waits for that command's events."""

from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json, accepted

CHANGES = 300


def add_one(shop: RunningShop) -> tuple[Json, str]:
    """The product after one was added to its stock, and the token of that command."""
    response = shop.admin.post("inventory", "/products/fresh/stock", {"quantity": 1})
    return accepted(response, 200), response.headers["Consistency-Token"]


async def test_every_change_is_visible_with_its_token(shop: RunningShop):
    product = {"productId": "fresh", "name": "Fresh", "price": 1000, "stock": 1}
    accepted(shop.admin.post("inventory", "/products", product), 201)
    for _ in range(CHANGES):
        written, token = add_one(shop)
        read = shop.admin.get("read", "/products/fresh", after=token)
        assert read.status_code == 200, read.text
        assert read.json()["onHand"] == written["onHand"]
    assert read.json()["onHand"] == CHANGES + 1


async def test_order_is_visible_with_its_token(shop: RunningShop):
    for _ in range(30):
        response = shop.guest.post_order(("plenty", 1))
        order_id, token = response.json()["orderId"], response.headers["Consistency-Token"]
        assert shop.admin.get("read", f"/orders/{order_id}", after=token).status_code == 200


async def test_token_of_several_services_is_waited_for(shop: RunningShop):
    response = shop.guest.post_order(("plenty", 1))
    positions = {
        source["source"]: source["position"]
        for source in shop.admin.show("read", "/dashboard")["sources"]
    }
    token = f"{response.headers['Consistency-Token']},inventory:{positions['inventory']}"
    order_id = response.json()["orderId"]
    assert shop.admin.show("read", f"/orders/{order_id}", after=token)["orderId"] == order_id
