"""Addresses to ship to. The service runs without a broker and sells nothing: an order that it would accept is a 422."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shared.settings import ShopSettings
from tests.support.addresses import ADDRESS_BODY
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
