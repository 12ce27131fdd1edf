"""Edits of the catalogue, of orders and of settings: a lost update answers 412, and what was deleted comes back."""

from uuid import uuid4

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json, ShopClient, accepted, rejected

STALE = ('"0123"', 'W/"0123"', "0123", "")


def new_product(shop: RunningShop) -> str:
    product = {"name": "Lamp", "description": "bright", "price": 1000, "stock": 5}
    product_id: str = accepted(shop.admin.post("inventory", "/products", product), 201)["productId"]
    return f"/products/{product_id}"


def matching(tag: str) -> dict[str, dict[str, str]]:
    """The option of a request that is carried out only if the tag is the current one."""
    return {"headers": {"If-Match": tag}}


def put_price(shop: RunningShop, path: str, price: int, tag: str) -> httpx.Response:
    product = {"name": "Lamp", "price": price}
    return shop.admin.ask("PUT", "inventory", path, product, **matching(tag))


async def until_for_sale(shop: RunningShop, product_id: str) -> Json:
    """The order of the first unit that can be ordered."""

    def order() -> Json | None:
        response = shop.guest.post_order((product_id, 1))
        return accepted(response, 201) if response.status_code != 422 else None

    ordered = await eventually(order)
    assert ordered is not None
    return ordered


async def test_deleted_product_is_restored(shop: RunningShop):
    path = new_product(shop)
    product_id = path.rpartition("/")[2]
    order = await until_for_sale(shop, product_id)
    await shop.until(order["orderId"], "COMPLETED")
    deleted = accepted(shop.admin.ask("DELETE", "inventory", path), 200)
    rejected(shop.guest.get("inventory", path), 404, "unknown-product")
    await eventually(lambda: shop.guest.get("read", path).status_code == 404)
    restored = accepted(shop.admin.post("inventory", f"{path}/restore"), 200)
    assert {**restored, "updatedAt": ""} == {**deleted, "updatedAt": ""}
    assert accepted(shop.admin.post("inventory", f"{path}/restore"), 200) == restored
    order = await until_for_sale(shop, product_id)
    await shop.until(order["orderId"], "COMPLETED")
    assert shop.guest.show("read", path)["name"] == "Lamp"
    rejected(shop.admin.post("inventory", "/products/nothing/restore"), 404, "unknown-product")


async def test_lost_update_of_product_is_rejected(shop: RunningShop):
    path = new_product(shop)
    first = shop.guest.get("inventory", path).headers["ETag"]
    changed = put_price(shop, path, 1100, first)
    second = changed.headers["ETag"]
    assert (changed.status_code, second) == (200, shop.guest.get("inventory", path).headers["ETag"])
    for stale in (first, *STALE):
        rejected(put_price(shop, path, 1200, stale), 412, "precondition-failed")
    rejected(
        shop.admin.ask("DELETE", "inventory", path, **matching(first)), 412, "precondition-failed"
    )
    assert shop.guest.show("inventory", path)["price"] == 1100
    assert put_price(shop, path, 1300, f'"other", {second}').status_code == 200
    assert put_price(shop, path, 1400, "*").status_code == 200
    assert shop.admin.put("inventory", path, {"name": "Lamp", "price": 1500}).status_code == 200


async def test_sale_does_not_outdate_an_edit(shop: RunningShop):
    path = new_product(shop)
    read = shop.guest.get("inventory", path).headers["ETag"]
    stock = {"quantity": 3, "reason": "a delivery"}
    accepted(shop.admin.post("inventory", f"{path}/stock", stock), 200)
    response = shop.guest.ask("GET", "inventory", path)
    assert response.headers["ETag"] != read
    assert put_price(shop, path, 1100, read).status_code == 200


async def test_unchanged_product_is_not_sent_again(shop: RunningShop):
    path = new_product(shop)
    tag = shop.guest.get("inventory", path).headers["ETag"]
    has_read = {"headers": {"If-None-Match": tag}}
    unchanged = shop.guest.ask("GET", "inventory", path, **has_read)
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    put_price(shop, path, 1100, tag)
    assert shop.guest.ask("GET", "inventory", path, **has_read).status_code == 200


async def test_cancellation_of_changed_order_is_rejected(shop: RunningShop, aiko: ShopClient):
    order_id = aiko.order(("plenty", 1))["orderId"]
    path = f"/orders/{order_id}"
    read = aiko.get("order", path).headers["ETag"]
    await shop.until(order_id, "COMPLETED")
    cancel = f"{path}/cancel"
    rejected(
        shop.admin.ask("POST", "order", cancel, {}, **matching(read)), 412, "precondition-failed"
    )
    current = shop.admin.get("order", path).headers["ETag"]
    assert current == aiko.get("order", path).headers["ETag"] != read
    rejected(shop.admin.ask("POST", "order", cancel, {}, **matching(current)), 409, "order-final")


async def test_lost_update_of_carrier_settings_is_rejected(shop: RunningShop):
    path = "/carriers/simulated"
    response = shop.admin.get("shipping", path)
    read, settings = response.headers["ETag"], response.json()

    def put(body: Json, tag: str) -> httpx.Response:
        return shop.admin.ask("PUT", "shipping", path, body, **matching(tag))

    changed = put(settings | {"successRate": 0.5}, read)
    assert changed.status_code == 200
    rejected(put(settings, read), 412, "precondition-failed")
    restored = put(settings, changed.headers["ETag"])
    assert (restored.json(), restored.headers["ETag"]) == (settings, read)


@pytest.mark.parametrize("if_match", STALE)
async def test_unknown_product_is_named_despite_precondition(shop: RunningShop, if_match: str):
    path = f"/products/{uuid4()}"
    rejected(put_price(shop, path, 1, if_match), 404, "unknown-product")
