"""What all five services answer alike: health, OpenAPI, and problems in plain words."""

import asyncio
import re
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from tests.support.running_shop import SERVICES, Fleet

every_service = pytest.mark.parametrize("service", SERVICES)

POSTS = {"order": "/orders", "inventory": "/products"}
"""A route of each service that takes a body."""

ITEM = {"productId": "plenty", "quantity": 1}
MIB = 1024 * 1024


def problem_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/problem+json")
    problem: dict[str, Any] = response.json()
    assert problem["type"].startswith("urn:quadrille:problem:")
    assert problem["status"] == status
    assert problem["title"]
    assert "detail" in problem
    return problem


@every_service
async def test_a_service_says_that_it_lives_and_works(shop: Fleet, service: str):
    assert shop.show(service, "/health/live")["status"] == "live"
    assert shop.show(service, "/health/ready")["status"] == "ready"


async def test_an_idle_connection_is_left_for_the_client_to_close(shop: Fleet):
    connection = HTTPConnection("127.0.0.1", shop.port("order"))
    for pause in (6, 0):  # clients commonly keep one for five seconds
        connection.request("GET", "/health/live")
        assert connection.getresponse().read()
        await asyncio.sleep(pause)
    connection.close()


@every_service
async def test_a_service_describes_itself(shop: Fleet, service: str):
    document = shop.show(service, "/schema/openapi.json")
    assert document["openapi"].startswith("3.")
    assert "/health/ready" in document["paths"]
    assert len(document["paths"]) > 2


@every_service
async def test_what_is_not_there_is_a_problem(shop: Fleet, service: str):
    problem_of(shop.get(service, "/nowhere"), 404)


@every_service
async def test_what_can_not_be_done_there_is_a_problem(shop: Fleet, service: str):
    refused = shop.post(service, "/health/live", {})
    problem_of(refused, 405)
    assert "GET" in refused.headers["Allow"]


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("order", "/orders/none"),
        ("inventory", "/products/none"),
        ("inventory", "/reservations/none"),
        ("shipping", "/shipments/none"),
        ("notifier", "/notifications/none"),
        ("read", "/orders/none"),
        ("read", "/orders/none/timeline"),
        ("read", "/products/none"),
    ],
)
async def test_an_unknown_thing_is_a_problem(shop: Fleet, service: str, path: str):
    problem = problem_of(shop.get(service, path), 404)
    assert problem["type"].startswith("urn:quadrille:problem:unknown-")


@pytest.mark.parametrize(("service", "path"), POSTS.items())
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[}"])
async def test_a_body_that_is_no_json_is_a_problem(
    shop: Fleet, service: str, path: str, body: bytes
):
    problem = problem_of(shop.post_raw(service, path, body), 400)
    assert problem["errors"][0]["field"] == "body"


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"items": {}}, "items", "expected a list, got an object"),
        ({"items": [ITEM], "price": 1}, "price", "unknown field"),
        ({"items": [ITEM | {"quantity": "2"}]}, "items[0].quantity", "expected an integer, got a string"),
        ({"items": [ITEM, ITEM | {"quantity": 0}]}, "items[1].quantity", "expected an integer ≥ 1"),
        ({"items": [ITEM | {"quantity": 1.5}]}, "items[0].quantity", "expected an integer"),
        ({"items": [ITEM | {"colour": "red"}]}, "items[0].colour", "unknown field"),
        ({"items": [{"quantity": 1}]}, "items[0].productId", "required"),
        ({"items": [ITEM | {"productId": "a.b"}]}, "items[0].productId", "expected a string"),
        ({"items": [ITEM], "locale": "fr"}, "locale", "invalid enum value 'fr'"),
        ({"items": [ITEM], "email": "nobody"}, "email", "expected a string"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named(shop: Fleet, body: object, field: str, message: str):
    problem = problem_of(shop.post("order", "/orders", body), 400)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert message in problem["errors"][0]["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "\x1b[2K"), ("category", "\u202egadgets"), ("imageUrl", "javascript:alert(1)")],
)
async def test_product_field_that_could_do_harm_is_refused(shop: Fleet, field: str, value: str):
    product = {"name": "Lamp", "price": 1, field: value}
    problem = problem_of(shop.post("inventory", "/products", product), 400)
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(("service", "path"), POSTS.items())
async def test_a_body_over_one_mebibyte_is_refused(shop: Fleet, service: str, path: str):
    problem_of(shop.post_raw(service, path, b" " * (MIB + 1)), 413)


async def test_a_wrong_query_parameter_is_named(shop: Fleet):
    problem = problem_of(shop.get("read", "/orders", limit="many"), 400)
    assert problem["errors"][0]["field"] == "limit"


@every_service
def test_foreign_origin_is_refused(shop: Fleet, service: str):
    refused = httpx.post(f"{shop.url(service)}/", headers={"Origin": "https://evil.example"})
    problem_of(refused, 403)


@every_service
def test_foreign_host_name_is_refused(shop: Fleet, service: str):
    refused = httpx.get(f"{shop.url(service)}/health/live", headers={"Host": "evil.example"})
    problem_of(refused, 421)


@every_service
def test_options_of_every_route_is_answered(shop: Fleet, service: str):
    for path in shop.show(service, "/schema/openapi.json")["paths"]:
        answer = httpx.options(shop.url(service) + re.sub(r"{.*?}", "1", path))
        assert answer.status_code == 204, path
        assert "OPTIONS" in answer.headers["Allow"]


@every_service
def test_document_page_loads_only_own_files(shop: Fleet, service: str):
    page = shop.get(service, "/schema")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert "<script>" not in page.text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for path in loaded:
        assert path.startswith("/schema/files/")
        assert shop.get(service, path).is_success


def test_answers_are_not_to_be_stored(shop: Fleet):
    placed = shop.order(("plenty", 1))
    for service, path in (
        ("order", f"/orders/{placed['orderId']}"),
        ("read", f"/orders/{placed['orderId']}/timeline"),
        ("read", "/nowhere"),
    ):
        assert shop.get(service, path).headers["Cache-Control"] == "no-store"


@every_service
def test_head_over_limit_is_refused(shop: Fleet, service: str):
    problem_of(httpx.get(shop.url(service), headers={"a": "b" * 70_000}), 431)
