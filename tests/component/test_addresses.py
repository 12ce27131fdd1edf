"""Addresses to ship to. The service runs without a broker and sells nothing: an order that it would accept is a 422."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from shared.settings import ShopSettings
from tests.support.addresses import ADDRESS_BODY
from tests.support.eventually import eventually
from tests.support.order_client import OrderClient, open_order_service, problem_of
from tests.support.ports import free_port
from tests.support.settings import settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

ITEMS = [{"productId": "p1", "quantity": 1}]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ShopSettings:
    return settings_for(tmp_path_factory.mktemp("addresses"), f"nats://127.0.0.1:{free_port()}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(settings: ShopSettings) -> AsyncIterator[OrderClient]:
    async with open_order_service(settings) as client:
        yield client


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"postcode": ""}, "postcode", "expected a string of length ≥ 1"),
        ({"postcode": 1500002}, "postcode", "expected a string, got an integer"),
        ({"postcode": "1" * 21}, "postcode", "expected a string of length ≤ 20"),
        ({"city": " "}, "city", "expected a string that is not blank, without control or hidden"),
        ({"name": "http://evil.example"}, "name", "and without ://"),
        ({"lines": []}, "lines", "expected a list of length ≥ 1"),
        ({"lines": ["1", "2", "3", "4"]}, "lines", "expected a list of length ≤ 3"),
        ({"lines": ["1", ""]}, "lines[1]", "expected a string of length ≥ 1"),
        ({"country": "Japan"}, "country", "expected a string of length ≤ 2"),
        ({"country": "jp"}, "country", "of two capital letters, such as JP (ISO 3166-1)"),
        ({"phone": "\x1b[2K"}, "phone", "without control"),
        ({"planet": "Earth"}, "planet", "unknown field"),
    ],
)
async def test_wrong_part_of_address_is_named(
    client: OrderClient, change: dict[str, Any], field: str, message: str
):
    body = {"items": ITEMS, "shippingAddress": ADDRESS_BODY | change}
    problem = problem_of(await client.ask("POST", "/orders", body), 400, "invalid-request")
    [error] = problem["errors"]
    assert error["field"] == f"shippingAddress.{field}"
    assert message in error["message"]


@pytest.mark.parametrize("part", ["name", "lines", "postcode", "city", "country"])
async def test_missing_part_of_address_is_named(client: OrderClient, part: str):
    address = {name: value for name, value in ADDRESS_BODY.items() if name != part}
    body = {"items": ITEMS, "shippingAddress": address}
    problem = problem_of(await client.ask("POST", "/orders", body), 400, "invalid-request")
    assert problem["errors"] == [{"field": f"shippingAddress.{part}", "message": "required"}]


async def test_address_needs_no_phone(client: OrderClient):
    address = {name: value for name, value in ADDRESS_BODY.items() if name != "phone"}
    body = {"items": ITEMS, "shippingAddress": address}
    problem_of(await client.ask("POST", "/orders", body), 422, "unknown-product")


async def test_order_without_address_is_refused(client: OrderClient):
    answer = await client.ask("POST", "/orders", {"items": ITEMS})
    problem = problem_of(answer, 400, "invalid-request")
    assert problem["errors"] == [{"field": "shippingAddress", "message": "required"}]


async def test_setting_permits_orders_without_address(tmp_path: Path):
    own = settings_for(tmp_path, f"nats://127.0.0.1:{free_port()}", require_address=False)
    async with open_order_service(own) as client:
        answer = await client.ask("POST", "/orders", {"items": ITEMS})
        problem_of(answer, 422, "unknown-product")
        token = (await client.register_and_sign_in("ann@example.com"))["accessToken"]
        checkout = await client.ask("POST", "/cart/checkout", token=token)
        problem_of(checkout, 422, "cart-empty")


Ask = Callable[..., Awaitable[httpx.Response]]
OTHER = ADDRESS_BODY | {"city": "Kyoto"}


@pytest_asyncio.fixture(loop_scope="module")
async def ask(client: OrderClient) -> Ask:
    """A request of a new customer."""
    token = (await client.register_and_sign_in(f"{uuid4().hex}@example.com"))["accessToken"]
    return partial(client.ask, token=token)


async def names(ask: Ask) -> list[str]:
    return [item["name"] for item in (await ask("GET", "/me/addresses")).json()["items"]]


async def test_address_is_added_replaced_and_removed(ask: Ask):
    added = await ask("POST", "/me/addresses", {"name": "home", "address": ADDRESS_BODY})
    assert (added.status_code, added.json()) == (201, {"name": "home", "address": ADDRESS_BODY})
    assert added.headers["Location"] == "/me/addresses/home"
    again = await ask("POST", "/me/addresses", {"name": "home", "address": OTHER})
    problem_of(again, 409, "address-exists")
    assert (await ask("PUT", "/me/addresses/home", OTHER)).status_code == 200
    assert (await ask("PUT", "/me/addresses/%E8%87%AA%E5%AE%85", OTHER)).status_code == 200
    answer = await ask("GET", "/me/addresses/home")
    assert answer.json() == {"name": "home", "address": OTHER}
    assert await names(ask) == ["home", "自宅"]
    left = await ask("DELETE", "/me/addresses/home")
    assert left.json() == {"items": [{"name": "自宅", "address": OTHER}]}
    for method in ("GET", "DELETE"):
        problem_of(await ask(method, "/me/addresses/home"), 404, "unknown-address")


async def test_customers_have_own_address_books(client: OrderClient, ask: Ask):
    await ask("PUT", "/me/addresses/home", ADDRESS_BODY)
    token = (await client.register_and_sign_in(f"{uuid4().hex}@example.com"))["accessToken"]
    assert await names(partial(client.ask, token=token)) == []


async def test_address_book_holds_twenty_addresses(ask: Ask):
    for number in range(20):
        assert (await ask("PUT", f"/me/addresses/a{number}", ADDRESS_BODY)).status_code == 200
    problem_of(await ask("PUT", "/me/addresses/one-more", OTHER), 409, "address-book-full")
    assert (await ask("PUT", "/me/addresses/a1", OTHER)).status_code == 200


async def test_saved_address_is_checked(ask: Ask):
    wrong = ADDRESS_BODY | {"postcode": ""}
    problem = problem_of(await ask("PUT", "/me/addresses/home", wrong), 400, "invalid-request")
    assert problem["errors"][0]["field"] == "postcode"
    added = await ask("POST", "/me/addresses", {"name": "home", "address": wrong})
    problem = problem_of(added, 400, "invalid-request")
    assert problem["errors"][0]["field"] == "address.postcode"


@pytest.mark.parametrize("name", [" ", ".hidden", "x" * 41, "a\u202eb"])
async def test_name_of_address_is_checked(ask: Ask, name: str):
    added = await ask("POST", "/me/addresses", {"name": name, "address": ADDRESS_BODY})
    problem = problem_of(added, 400, "invalid-request")
    assert problem["errors"][0]["field"] == "name"
    saved = await ask("PUT", f"/me/addresses/{quote(name)}", ADDRESS_BODY)
    problem_of(saved, 404, "unknown-address")


async def test_order_may_name_an_address(ask: Ask):
    body = {"items": ITEMS, "addressName": "home"}
    problem_of(await ask("POST", "/orders", body), 422, "unknown-address")
    await ask("PUT", "/me/addresses/home", ADDRESS_BODY)
    problem_of(await ask("POST", "/orders", body), 422, "unknown-product")


async def test_guest_cannot_name_an_address(client: OrderClient):
    answer = await client.ask("POST", "/orders", {"items": ITEMS, "addressName": "home"})
    problem = problem_of(answer, 400, "invalid-request")
    assert problem["errors"][0]["field"] == "addressName"
    assert "sign in" in problem["errors"][0]["message"]


async def test_order_names_no_second_address(ask: Ask):
    body = {"items": ITEMS, "addressName": "home", "shippingAddress": ADDRESS_BODY}
    problem = problem_of(await ask("POST", "/orders", body), 400, "invalid-request")
    assert problem["errors"][0]["field"] == "addressName"


async def test_address_book_survives_restart_and_rebuild(tmp_path: Path):
    own = settings_for(tmp_path, f"nats://127.0.0.1:{free_port()}")
    email = "ann@example.com"
    async with open_order_service(own) as client:
        token = (await client.register_and_sign_in(email))["accessToken"]
        for name in ("home", "work", "gone"):
            await client.ask("PUT", f"/me/addresses/{name}", ADDRESS_BODY, token=token)
        await client.ask("DELETE", "/me/addresses/gone", token=token)
    with sqlite3.connect(tmp_path / "order.db") as database:
        database.execute("DELETE FROM address_books")
        database.execute("UPDATE derived_state SET version = 0")
    database.close()
    async with open_order_service(own) as client:

        async def tokens() -> Any:
            answer = await client.login(email)
            return answer.is_success and answer.json()

        token = (await eventually(tokens))["accessToken"]  # 503 while it rebuilds
        assert await names(partial(client.ask, token=token)) == ["home", "work"]
