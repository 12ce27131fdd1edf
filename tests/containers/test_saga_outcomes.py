"""The three dances in containers: our own image, the real nats, the real mailpit, nothing but HTTP."""

import pytest

from tests.containers.shop import GRACE_SECONDS, SERVICES, ContainerShop

pytestmark = pytest.mark.containers


async def test_an_order_in_stock_is_delivered(shop: ContainerShop):
    await shop.stock_up("keyboard", 10)
    order_id = shop.order("keyboard", 2, "happy@example.com")
    shown = await shop.until(order_id, "COMPLETED")
    assert shown["shipment"]["trackingNumber"]
    await shop.until_stock("keyboard", on_hand=8, reserved=0)
    await shop.mails(3, "happy@example.com")


async def test_an_order_beyond_the_stock_is_cancelled_and_holds_nothing(shop: ContainerShop):
    await shop.stock_up("mouse", 5)
    order_id = shop.order("mouse", 20, "empty@example.com")
    shown = await shop.until(order_id, "CANCELLED_NO_STOCK")
    assert shown["shipment"] is None
    await shop.until_stock("mouse", on_hand=5, reserved=0)
    await shop.mails(2, "empty@example.com")


async def test_an_order_that_no_carrier_takes_fails_and_gives_its_stock_back(
    shop_without_luck: ContainerShop,
):
    await shop_without_luck.stock_up("monitor", 3)
    order_id = shop_without_luck.order("monitor", 1, "unlucky@example.com")
    await shop_without_luck.until(order_id, "SHIPMENT_FAILED")
    await shop_without_luck.until_stock("monitor", on_hand=3, reserved=0)
    await shop_without_luck.mails(3, "unlucky@example.com")


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_runs_as_root(shop: ContainerShop, name: str):
    assert shop.container(name).exec_run(["id", "-u"]).output.strip() == b"10001"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_is_told_to_stop_ends_in_good_order(
    shop_without_luck: ContainerShop, name: str
):
    container = shop_without_luck.container(name)
    container.stop(timeout=GRACE_SECONDS)
    assert container.wait()["StatusCode"] == 0
