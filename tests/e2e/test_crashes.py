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
from tests.support.running_shop import Fleet, Json

HANDLING = ("after_handling", "after_ack")
ANYWHERE = ("before_commit", "after_commit", "after_publish", "after_marking", *HANDLING)

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
FEWEST_ORDERS = 2 * len(BASKETS)
MAX_PASSINGS = 4

MAILS_AT_END = {
    "COMPLETED": {"confirmation", "dispatched", "delivered"},
    "SHIPMENT_FAILED": {"confirmation", "dispatched", "failed"},
    "CANCELLED_NO_STOCK": {"confirmation", "cancelled"},
}


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """A shop whose carrier declines every other order."""
    with Fleet(tmp_path_factory.mktemp("shop"), carrier_success_rate=0.5) as fleet:
        await fleet.start()
        await fleet.stock_up(plenty=PLENTY, scarce=SCARCE)
        yield fleet


@pytest.fixture
def passing(seed: int, request: pytest.FixtureRequest) -> int:
    """At which passing of its crash point the service dies."""
    return random.Random(f"{seed}:{request.node.nodeid}").randint(1, MAX_PASSINGS)


def at(*points: str) -> pytest.MarkDecorator:
    """One test for each of these crash points."""
    return pytest.mark.parametrize("point", points)


class TestOrder:
    @at(*ANYWHERE)
    async def test_dies_and_goes_on_where_it_was(self, shop: Fleet, point: str, passing: int):
        await assert_survived(shop, "order", point, passing)

    async def test_accepts_nothing_that_it_has_not_kept(self, shop: Fleet):
        await assert_survived(shop, "order", "before_commit", 1)


class TestInventory:
    @at(*ANYWHERE)
    async def test_dies_and_goes_on_where_it_was(self, shop: Fleet, point: str, passing: int):
        await assert_survived(shop, "inventory", point, passing)


class TestShipping:
    @at(*ANYWHERE)
    async def test_dies_and_goes_on_where_it_was(self, shop: Fleet, point: str, passing: int):
        await assert_survived(shop, "shipping", point, passing)


class TestNotifier:
    @at(*ANYWHERE, "after_smtp_accepted")
    async def test_dies_and_goes_on_where_it_was(self, shop: Fleet, point: str, passing: int):
        await assert_survived(shop, "notifier", point, passing)


class TestReadApi:
    @at(*HANDLING)
    async def test_dies_and_goes_on_where_it_was(self, shop: Fleet, point: str, passing: int):
        await assert_survived(shop, "read", point, passing)


async def assert_survived(shop: Fleet, service: str, point: str, passing: int) -> None:
    """Let the service die there once among orders, start it again, and find that nothing shows it."""
    customer = str(uuid4())
    on_hand, _ = shop.stock("plenty")
    shop.terminate(service)
    if service == "order":
        passing += 1  # it passes each point once at its start, when it publishes its signing key
    shop.start_service(service, failpoint=f"{point}:{passing}")
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
    # Wherever the notifier dies, some mail may be between the server's yes and its own note of it.
    may_be_mailed_twice = service == "notifier"
    for order in accepted:
        assert_mailed(shop, order, may_be_mailed_twice)
        await eventually(lambda order=order: is_shown_as_it_is(shop, order["orderId"]), 30)


async def order_until(shop: Fleet, customer: str, has_crashed: asyncio.Event) -> list[Json]:
    """Order one basket after another, until some time after the crash."""
    accepted: list[Json] = []
    for basket in cycle(BASKETS):
        if has_crashed.is_set() and len(accepted) >= FEWEST_ORDERS:
            break
        email = f"{uuid4().hex}@example.com"
        order = await asyncio.to_thread(
            shop.order_insistently, *basket, userId=customer, email=email
        )
        accepted.append(order)
        await asyncio.sleep(PAUSE_SECONDS)
    return accepted


def assert_ended_once(shop: Fleet, customer: str, accepted: list[Json]) -> None:
    known = shop.show("order", "/orders", userId=customer, limit=200)["items"]
    assert sorted(order["orderId"] for order in known) == sorted(
        order["orderId"] for order in accepted
    )
    for order in known:
        is_refused = any(item["productId"] == "scarce" for item in order["items"])
        allowed = {"CANCELLED_NO_STOCK"} if is_refused else {"COMPLETED", "SHIPMENT_FAILED"}
        assert order["status"] in allowed


def delivered(shop: Fleet, customer: str) -> int:
    """How many of anything have left the house for this customer."""
    orders = shop.show("order", "/orders", userId=customer, limit=200)["items"]
    return sum(
        item["quantity"]
        for order in orders
        if order["status"] == "COMPLETED"
        for item in order["items"]
    )


def assert_mailed(shop: Fleet, order: Json, may_be_mailed_twice: bool) -> None:
    """One mail for each event, known by its Message-ID."""
    told = shop.show("notifier", "/notifications", orderId=order["orderId"])["items"]
    assert {notification["status"] for notification in told} == {"SENT"}
    templates = sorted(notification["template"] for notification in told)
    assert templates == sorted(MAILS_AT_END[shop.status(order["orderId"])])
    sent = Counter(mail["Message-ID"] for mail in shop.mail.mails(order["email"]))
    ids = {message_id.strip("<>").partition("@")[0] for message_id in sent}
    assert ids == {notification["notificationId"] for notification in told}
    assert max(sent.values()) <= (2 if may_be_mailed_twice else 1), sent


def is_shown_as_it_is(shop: Fleet, order_id: str) -> bool:
    shown = shop.show("read", f"/orders/{order_id}")
    known = shop.show("order", f"/orders/{order_id}")
    return all(shown[name] == known[name] for name in shown.keys() & known.keys())
