"""What one has just done, one sees: the read API waits for it when it is shown the command's token."""

from typing import Any

import pytest

from tests.support.running_shop import Fleet

pytestmark = pytest.mark.xdist_group("shop")

TIMES = 1000


def changed(shop: Fleet, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The product after a change of its stock, as its own service shows it, and the token of that."""
    answer = shop.post("inventory", "/products/fresh/stock", body)
    assert answer.status_code == 200, answer.text
    return answer.json(), answer.headers["Consistency-Token"]


async def test_a_thousand_changes_are_each_seen_at_once(shop: Fleet):
    product = {"productId": "fresh", "name": "Fresh", "price": 1000, "stock": 1}
    created = shop.post("inventory", "/products", product)
    assert created.status_code == 201, created.text
    for _ in range(TIMES):
        written, token = changed(shop, {"quantity": 1})
        read = shop.get("read", "/products/fresh", after=token)
        assert read.status_code == 200, read.text
        assert read.json()["onHand"] == written["onHand"]
    assert read.json()["onHand"] == TIMES + 1


async def test_an_order_is_there_as_soon_as_it_is_accepted(shop: Fleet):
    for _ in range(30):
        accepted = shop.post_order(("plenty", 1))
        order_id, token = accepted.json()["orderId"], accepted.headers["Consistency-Token"]
        assert shop.get("read", f"/orders/{order_id}", after=token).status_code == 200


async def test_one_may_wait_for_several_services(shop: Fleet):
    accepted = shop.post_order(("plenty", 1))
    positions = {
        source["source"]: source["position"]
        for source in shop.show("read", "/dashboard")["sources"]
    }
    token = f"{accepted.headers['Consistency-Token']},inventory:{positions['inventory']}"
    order_id = accepted.json()["orderId"]
    assert shop.show("read", f"/orders/{order_id}", after=token)["orderId"] == order_id
