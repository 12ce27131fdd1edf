"""Each service dies once at each of its crash points, in the middle of orders, and is started again.

Afterwards every order has ended once, stock is conserved, and each event has its one mail.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from itertools import cycle
from uuid import uuid4

import pytest
import pytest_asyncio

from shared.chassis.failpoints import EXIT_CODE
from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json

HANDLING = ("after_handling", "after_ack")
ANYWHERE = ("before_commit", "after_commit", "after_publish", "after_marking", *HANDLING)
POINTS = {
    "order": ANYWHERE,
    "inventory": ANYWHERE,
    "shipping": ANYWHERE,
    "notifier": (*ANYWHERE, "after_smtp_accepted"),
    "read": HANDLING,
}
CRASHES = [(service, point) for service, points in POINTS.items() for point in points]

PLENTY = 100_000
SCARCE = 10
BASKETS = (
    [("plenty", 2)],
    [("scarce", 2 * SCARCE)],
    [("plenty", 1), ("scarce", 2 * SCARCE)],
    [("plenty", 1), ("plenty", 3)],
)
PAUSE_SECONDS = 0.02
"""Between two orders."""
MIN_ORDERS = 2 * len(BASKETS)
MAX_PASSES = 4

MAILS_AT_END = {
    "COMPLETED": {"confirmation", "dispatched", "delivered"},
    "SHIPMENT_FAILED": {"confirmation", "failed"},
    "CANCELLED_NO_STOCK": {"confirmation", "cancelled"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningShop]:
    """A shop whose carrier fails every other shipment."""
    with RunningShop(tmp_path_factory.mktemp("shop"), carrier_success_rate=0.5) as shop:
        await shop.start()
        await shop.stock_up(plenty=PLENTY, scarce=SCARCE)
        yield shop


@pytest.fixture
def pass_number(seed: int, request: pytest.FixtureRequest) -> int:
    """At which pass of its crash point the service dies."""
    return random.Random(f"{seed}:{request.node.nodeid}").randint(1, MAX_PASSES)


@pytest.mark.parametrize(("service", "point"), CRASHES)
async def test_service_recovers_from_crash(
    shop: RunningShop, service: str, point: str, pass_number: int
):
    await assert_recovers(shop, service, point, pass_number)


async def test_first_command_survives_crash_before_commit(shop: RunningShop):
    await assert_recovers(shop, "order", "before_commit", pass_number=1)


async def assert_recovers(shop: RunningShop, service: str, point: str, pass_number: int) -> None:
    """Let the service die there once among orders, start it again, and find no trace of it."""
    customer = str(uuid4())
    on_hand, _ = shop.stock("plenty")
    shop.terminate(
        service
    )  # not killed: an event without its ack would pass the crash point at the start
    if service in {"order", "notifier"}:
        pass_number += 1  # at its start it passes each point once, when it publishes its keys
    shop.start_service(service, failpoint=f"{point}:{pass_number}")
    await shop.until_ready(service)
    has_crashed = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        ordering = tasks.create_task(order_until(shop, customer, has_crashed))
        await eventually(lambda: shop.has_ended(service), 60)
        assert shop.wait_exit(service) == EXIT_CODE
        shop.start_service(service)
        has_crashed.set()
    await shop.until_ready(service)
    await shop.settle()
    accepted = ordering.result()
    assert_ended_once(shop, customer, accepted)
    assert shop.stock("plenty") == (on_hand - delivered(shop, customer), 0)
    assert shop.stock("scarce") == (SCARCE, 0)
    # The mail server may have accepted a mail that the notifier had not recorded as sent when it died.
    may_be_mailed_twice = service == "notifier"
    for order in accepted:
        assert_mailed(shop, order, may_be_mailed_twice)
        await eventually(lambda order=order: is_up_to_date(shop, order["orderId"]), 30)


async def order_until(shop: RunningShop, customer: str, has_crashed: asyncio.Event) -> list[Json]:
    """Order one basket after another, until some time after the crash."""
    accepted: list[Json] = []
    for basket in cycle(BASKETS):
        if has_crashed.is_set() and len(accepted) >= MIN_ORDERS:
            break
        email = f"{uuid4().hex}@example.com"
        order = await asyncio.to_thread(
            shop.guest.order_with_retries, *basket, userId=customer, email=email
        )
        accepted.append(order)
        await asyncio.sleep(PAUSE_SECONDS)
    return accepted


def assert_ended_once(shop: RunningShop, customer: str, accepted: list[Json]) -> None:
    orders = shop.admin.show("order", "/orders", userId=customer, limit=200)["items"]
    assert sorted(order["orderId"] for order in orders) == sorted(
        order["orderId"] for order in accepted
    )
    for order in orders:
        lacks_stock = any(item["productId"] == "scarce" for item in order["items"])
        allowed = {"CANCELLED_NO_STOCK"} if lacks_stock else {"COMPLETED", "SHIPMENT_FAILED"}
        assert order["status"] in allowed


def delivered(shop: RunningShop, customer: str) -> int:
    """The quantity of all products that were shipped to this customer."""
    orders = shop.admin.show("order", "/orders", userId=customer, limit=200)["items"]
    return sum(
        item["quantity"]
        for order in orders
        if order["status"] == "COMPLETED"
        for item in order["items"]
    )


def assert_mailed(shop: RunningShop, order: Json, may_be_mailed_twice: bool) -> None:
    """One mail for each event, identified by its Message-ID."""
    notifications = shop.admin.show("notifier", "/notifications", orderId=order["orderId"])["items"]
    assert {notification["status"] for notification in notifications} == {"SENT"}
    templates = sorted(notification["template"] for notification in notifications)
    assert templates == sorted(MAILS_AT_END[shop.status(order["orderId"])])
    sent = Counter(mail["Message-ID"] for mail in shop.mail.mails(order["email"]))
    ids = {message_id.strip("<>").partition("@")[0] for message_id in sent}
    assert ids == {notification["notificationId"] for notification in notifications}
    assert max(sent.values()) <= (2 if may_be_mailed_twice else 1), sent


def is_up_to_date(shop: RunningShop, order_id: str) -> bool:
    """Whether the read API has the order as the order service has it."""
    in_read_api = shop.admin.show("read", f"/orders/{order_id}")
    order = shop.admin.show("order", f"/orders/{order_id}")
    return all(in_read_api[name] == order[name] for name in in_read_api.keys() & order.keys())
