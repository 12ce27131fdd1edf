"""Rate limits of orders, registrations and cart changes, over HTTP at the order service."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from shared.settings import ShopSettings
from tests.support.addresses import ADDRESS_BODY
from tests.support.eventually import eventually
from tests.support.order_client import PASSWORD, OrderClient, open_order_service, problem_of
from tests.support.ports import free_port
from tests.support.process import service_process
from tests.support.settings import settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN_PASSWORD = "open sesame"
RATE_LIMITS = (
    "registrations_per_address=2/day,registrations_per_recipient=2/day,guest_orders_per_address=3/day,orders_per_recipient=2/day,"
    "orders_per_customer=3/day,changes_per_customer=3/day,"
    "sign_in_failures_per_address=3/day,sign_ins_per_account=5/day"
)
ITEMS = [{"productId": "none", "quantity": 1}]

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settings(tmp_path_factory: pytest.TempPathFactory) -> ShopSettings:
    return settings_for(
        tmp_path_factory.mktemp("limits"),
        f"nats://127.0.0.1:{free_port()}",
        admin_password=ADMIN_PASSWORD,
        rate_limits=RATE_LIMITS,
        max_units_per_line=5,
        max_lines_per_order=3,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(settings: ShopSettings) -> AsyncIterator[OrderClient]:
    async with open_order_service(settings) as client:
        yield client


@pytest.fixture
def address() -> str:
    """An unused address."""
    return f"198.51.100.{next(_numbers)}"


@pytest.fixture
def email() -> str:
    return f"customer{next(_numbers)}@example.com"


async def order(client: OrderClient, address: str, token: str | None = None, **fields: str) -> int:
    """The status of the answer to an order; 422 is an order of an unknown product, which counts."""
    body = {"items": ITEMS, "shippingAddress": ADDRESS_BODY, **fields}
    answer = await client.ask("POST", "/orders", body, token=token, address=address)
    if answer.status_code == 429:
        assert_limited(answer)
    return answer.status_code


def assert_limited(answer: httpx.Response) -> None:
    problem_of(answer, 429, "too-many-requests")
    assert int(answer.headers["Retry-After"]) > 0


async def test_registrations_of_one_address_are_limited(client: OrderClient, address: str):
    answers = [
        await client.ask(
            "POST",
            "/auth/register",
            {"email": f"{number}@{address}.example", "password": PASSWORD},
            address=address,
        )
        for number in range(3)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert_limited(answers[-1])


async def test_registrations_of_one_mailbox_are_limited(client: OrderClient, email: str):
    name, _, domain = email.partition("@")
    answers = [
        await client.ask(
            "POST",
            "/auth/register",
            {"email": f"{name}+{number}@{domain}", "password": PASSWORD},
            address=f"203.0.113.{30 + number}",
        )
        for number in range(3)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert answers[-1].json()["limit"] == "registrations_per_recipient"


async def test_guest_orders_of_one_address_are_limited(client: OrderClient, address: str):
    assert [await order(client, address) for _ in range(4)] == [422, 422, 422, 429]
    assert await order(client, "203.0.113.1") == 422


async def test_orders_to_one_recipient_are_limited(client: OrderClient, email: str):
    spellings = [email, email.upper(), email.replace("@", "+news@")]
    statuses = [
        await order(client, f"203.0.113.{10 + number}", email=spelling)
        for number, spelling in enumerate(spellings)
    ]
    assert statuses == [422, 422, 429]


async def test_orders_of_one_customer_are_limited(client: OrderClient, address: str, email: str):
    await client.ask(
        "POST", "/auth/register", {"email": email, "password": PASSWORD}, address=address
    )
    token = (await client.sign_in(email))["accessToken"]
    statuses = [await order(client, f"203.0.113.{20 + number}", token) for number in range(4)]
    assert statuses == [422, 422, 422, 429]
    checkout = await client.ask(
        "POST", "/cart/checkout", {"shippingAddress": ADDRESS_BODY}, token=token
    )
    assert_limited(checkout)


@pytest.mark.parametrize(
    ("items", "limit"),
    [
        ([{"productId": "none", "quantity": 6}], {"maxUnits": 5, "productId": "none"}),
        ([{"productId": f"p{number}", "quantity": 1} for number in range(4)], {"maxLines": 3}),
    ],
    ids=["units", "lines"],
)
async def test_size_of_order_is_limited(
    client: OrderClient, address: str, items: list[dict[str, Any]], limit: dict[str, Any]
):
    body = {"items": items, "shippingAddress": ADDRESS_BODY}
    answer = await client.ask("POST", "/orders", body, address=address)
    problem = problem_of(answer, 422, "order-too-large")
    assert {name: problem[name] for name in limit} == limit


async def test_orders_of_admin_are_not_limited(
    client: OrderClient, settings: ShopSettings, address: str, email: str
):
    token = (await client.sign_in(settings.admin_email, ADMIN_PASSWORD))["accessToken"]
    statuses = [await order(client, address, token, email=email) for _ in range(5)]
    assert statuses == [422] * 5


async def test_successful_sign_ins_do_not_count_as_failures(
    client: OrderClient, address: str, email: str
):
    body = {"email": email, "password": PASSWORD}
    await client.ask("POST", "/auth/register", body, address=address)
    answers = [await client.login(email, address=address) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[-1].json()["limit"] == "sign_ins_per_account"


async def test_changes_of_one_customer_are_limited(client: OrderClient, address: str, email: str):
    await client.ask(
        "POST", "/auth/register", {"email": email, "password": PASSWORD}, address=address
    )
    token = (await client.sign_in(email))["accessToken"]
    assert (await client.ask("DELETE", "/cart", token=token)).status_code == 200
    for name in ("Aiko", "Ben"):
        await client.ask("PUT", "/auth/me", {"name": name}, token=token)
    assert_limited(await client.ask("PUT", "/auth/me", {"name": "Carol"}, token=token))
    assert_limited(await client.ask("DELETE", "/cart", token=token))


@pytest.mark.parametrize(
    "line", ["http://evil.example/login", "x" * 101, "Main\x1b[2K Street", "\u202eMain Street"]
)
async def test_shipping_address_must_be_plain_and_short(
    client: OrderClient, address: str, line: str
):
    body = {"items": ITEMS, "shippingAddress": ADDRESS_BODY | {"city": line}}
    answer = await client.ask("POST", "/orders", body, address=address)
    problem = problem_of(answer, 400, "invalid-request")
    assert problem["errors"][0]["field"] == "shippingAddress.city"


async def test_cancellation_reason_must_be_plain_text(client: OrderClient):
    answer = await client.ask("POST", "/orders/none/cancel", {"reason": "\x1b[2K"})
    problem = problem_of(answer, 400, "invalid-request")
    assert problem["errors"][0]["field"] == "reason"


async def test_invalid_requests_are_not_counted(client: OrderClient, address: str):
    for _ in range(5):
        answer = await client.ask("POST", "/orders", {"items": "none"}, address=address)
        problem_of(answer, 400, "invalid-request")
    assert await order(client, address) == 422


@pytest.mark.parametrize(("trusted", "statuses"), [("", [422, 429]), ("127.0.0.1", [422, 422])])
async def test_only_trusted_proxy_names_the_client(
    tmp_path: Path, trusted: str, statuses: list[int]
):
    own = settings_for(
        tmp_path,
        f"nats://127.0.0.1:{free_port()}",
        rate_limits="guest_orders_per_address=1/day",
        trusted_proxies=trusted,
    )
    url = f"http://127.0.0.1:{own.order_port}/orders"
    body = {"items": ITEMS, "shippingAddress": ADDRESS_BODY}
    with service_process("order", own) as process:
        await eventually(lambda: process.waiting_for() is not None)
        async with httpx.AsyncClient() as client:
            answers = [
                await client.post(url, json=body, headers={"X-Forwarded-For": address})
                for address in ("203.0.113.1", "203.0.113.2")
            ]
    assert [answer.status_code for answer in answers] == statuses
