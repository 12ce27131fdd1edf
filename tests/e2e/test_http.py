"""What all five services have in common: health, OpenAPI, problem documents, limits and headers."""

import asyncio
import re
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.chassis.http import swagger
from tests.support.running_shop import SERVICES, RunningShop
from tests.support.shop_client import PASSWORD

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
async def test_running_service_is_live_and_ready(shop: RunningShop, service: str):
    assert shop.admin.show(service, "/health/live")["status"] == "live"
    assert shop.admin.show(service, "/health/ready")["status"] == "ready"


async def test_idle_connection_stays_open(shop: RunningShop):
    connection = HTTPConnection("127.0.0.1", shop.port("order"))
    for pause in (6, 0):  # clients commonly keep one for five seconds
        connection.request("GET", "/health/live")
        assert connection.getresponse().read()
        await asyncio.sleep(pause)
    connection.close()


@every_service
async def test_service_has_an_openapi_document(shop: RunningShop, service: str):
    document = shop.admin.show(service, "/schema/openapi.json")
    assert document["openapi"].startswith("3.")
    assert "/health/ready" in document["paths"]
    assert len(document["paths"]) > 2


@every_service
def test_index_names_service_and_its_documents(shop: RunningShop, service: str):
    index = shop.guest.show(service, "/")
    assert index["title"].startswith("Quadrille: ")
    page = httpx.get(shop.url(service), headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["Content-Type"].startswith("text/html")
    assert index["title"] in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for document in index["documents"]:
        assert f'<a href="{document["path"]}">' in page.text
        assert shop.guest.get(service, document["path"]).is_success


@every_service
async def test_unknown_path_is_a_problem(shop: RunningShop, service: str):
    problem_of(shop.admin.get(service, "/nowhere"), 404)


@every_service
async def test_wrong_method_is_a_problem(shop: RunningShop, service: str):
    response = shop.admin.post(service, "/health/live", {})
    problem_of(response, 405)
    assert "GET" in response.headers["Allow"]


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
async def test_unknown_entity_is_a_problem(shop: RunningShop, service: str, path: str):
    problem = problem_of(shop.admin.get(service, path), 404)
    assert problem["type"].startswith("urn:quadrille:problem:unknown-")


@pytest.mark.parametrize(("service", "path"), POSTS.items())
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[}"])
async def test_body_without_json_is_a_problem(
    shop: RunningShop, service: str, path: str, body: bytes
):
    problem = problem_of(shop.admin.post_raw(service, path, body), 400)
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
        ({"items": [ITEM | {"productId": "a.b"}]}, "items[0].productId", "expected a string of letters, digits, - and _"),
        ({"items": [ITEM], "locale": "fr"}, "locale", "invalid enum value 'fr'"),
        ({"items": [ITEM], "email": "nobody"}, "email", "expected a string that is an e-mail address"),
    ],
)  # fmt: skip
async def test_wrong_field_is_named(shop: RunningShop, body: object, field: str, message: str):
    problem = problem_of(shop.admin.post("order", "/orders", body), 400)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert message in problem["errors"][0]["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "\x1b[2K"), ("category", "\u202egadgets"), ("imageUrl", "javascript:alert(1)")],
)
async def test_harmful_product_field_is_rejected(shop: RunningShop, field: str, value: str):
    product = {"name": "Lamp", "price": 1, field: value}
    problem = problem_of(shop.admin.post("inventory", "/products", product), 400)
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(("service", "path"), POSTS.items())
async def test_body_over_one_mebibyte_is_rejected(shop: RunningShop, service: str, path: str):
    problem_of(shop.admin.post_raw(service, path, b" " * (MIB + 1)), 413)


async def test_wrong_query_parameter_is_named(shop: RunningShop):
    problem = problem_of(shop.admin.get("read", "/orders", limit="many"), 400)
    assert problem["errors"][0]["field"] == "limit"


@pytest.mark.parametrize(
    ("service", "path", "message"),
    [
        ("read", "/orders?limt=1", "unknown; did you mean limit?"),
        ("read", "/products?Category=a&limit=2", "unknown; did you mean category?"),
        (
            "notifier",
            "/notifications?colour=red",
            "unknown; the route has cursor, limit, orderId, status",
        ),
        ("order", "/cart?limit=1", "unknown: the route has no parameters"),
        ("read", "/products?limit=1&limit=2", "given more than once"),
        ("read", "/orders?status=null", "expected a value, got null"),
        ("order", "/health/ready?verbose=1", "unknown: the route has no parameters"),
    ],
)
def test_unknown_query_parameter_is_rejected(
    shop: RunningShop, service: str, path: str, message: str
):
    problem = problem_of(shop.admin.ask("GET", service, path), 400)
    [error] = problem["errors"]
    assert error == {"field": re.split(r"[?=]", path)[1], "message": message}


def documented_gets(shop: RunningShop, service: str) -> list[str]:
    """The paths of the service's GET routes, with ids of nothing."""
    paths = shop.admin.show(service, "/schema/openapi.json")["paths"]
    return [re.sub(r"{.*?}", "1", path) for path, methods in paths.items() if "get" in methods]


@every_service
def test_head_of_every_route_has_no_body(shop: RunningShop, service: str):
    for path in documented_gets(shop, service):
        response = shop.admin.ask("HEAD", service, path)
        assert response.content == b"", path
        assert response.headers["Content-Type"]
        if not path.endswith("/stream"):
            assert response.status_code == shop.admin.get(service, path).status_code, path


@every_service
def test_every_route_is_also_at_api(shop: RunningShop, service: str):
    for path in documented_gets(shop, service):
        if not path.endswith("/stream"):
            alias, response = shop.admin.get(service, f"/api{path}"), shop.admin.get(service, path)
            assert alias.status_code == response.status_code, path
            assert alias.json().keys() == response.json().keys()


def test_large_response_is_compressed_on_request(shop: RunningShop):
    plain, compressed = (
        httpx.get(f"{shop.url('order')}/schema/openapi.json", headers={"Accept-Encoding": coding})
        for coding in ("identity", "gzip")
    )
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"
    assert plain.json() == compressed.json()
    assert int(compressed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 4


def test_response_with_token_is_not_compressed(shop: RunningShop):
    account = {"email": "head@example.com", "password": "correct horse"}
    assert shop.guest.post("order", "/auth/register", account).status_code == 201
    response = shop.guest.post("order", "/auth/login", account)
    assert response.json()["accessToken"]
    assert response.request.headers["Accept-Encoding"].startswith("gzip")
    assert "Content-Encoding" not in response.headers


def test_event_stream_is_not_compressed(shop: RunningShop):
    with shop.admin.stream("GET", "read", "/events/stream") as response:
        assert next(response.iter_lines())
        assert "Content-Encoding" not in response.headers


@every_service
def test_foreign_origin_is_rejected(shop: RunningShop, service: str):
    response = httpx.post(f"{shop.url(service)}/", headers={"Origin": "https://evil.example"})
    problem_of(response, 403)


@every_service
def test_foreign_host_name_is_rejected(shop: RunningShop, service: str):
    response = httpx.get(f"{shop.url(service)}/health/live", headers={"Host": "evil.example"})
    problem_of(response, 421)


@every_service
def test_options_of_every_route_is_answered(shop: RunningShop, service: str):
    for path in shop.admin.show(service, "/schema/openapi.json")["paths"]:
        response = httpx.options(shop.url(service) + re.sub(r"{.*?}", "1", path))
        assert response.status_code == 204, path
        assert "OPTIONS" in response.headers["Allow"]


@every_service
def test_document_page_loads_only_own_files(shop: RunningShop, service: str):
    page = shop.admin.get(service, "/schema")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert "<script>" not in page.text
    paths = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(paths) == 4
    for path in paths:
        response = shop.admin.get(service, path)
        assert path.startswith("/schema/files/")
        assert response.content == (swagger.FILES / Path(path).name).read_bytes()
        assert response.headers["Cache-Control"] == "max-age=3600, public"


@pytest.mark.parametrize(
    ("service", "path", "caching"),
    [
        ("read", "/products", "no-cache"),
        ("read", "/products/plenty", "no-cache"),
        ("inventory", "/products", "no-cache"),
        ("inventory", "/products/plenty", "no-cache"),
        ("order", "/schema/openapi.json", "no-cache"),
        ("order", "/.well-known/jwks.json", "max-age=60, public"),
    ],
)
def test_public_response_is_kept_and_revalidated(
    shop: RunningShop, service: str, path: str, caching: str
):
    url = shop.url(service) + path
    response = httpx.get(url)
    tag = response.headers["ETag"]
    assert response.headers["Cache-Control"] == caching
    unchanged = httpx.get(url, headers={"If-None-Match": f'"other", {tag}'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["ETag"] == tag
    assert httpx.get(url, headers={"If-None-Match": '"other"'}).json() == response.json()


def test_response_with_token_is_not_stored(shop: RunningShop):
    with shop.guest.new_customer() as customer:
        account = {"email": customer.email, "password": PASSWORD}
        for path, body in (("login", account), ("register", account)):
            response = shop.guest.post("order", f"/auth/{path}", body)
            assert response.headers["Cache-Control"] == "no-store"


def test_responses_are_not_cached(shop: RunningShop):
    placed = shop.guest.order(("plenty", 1))
    for service, path in (
        ("order", f"/orders/{placed['orderId']}"),
        ("read", f"/orders/{placed['orderId']}/timeline"),
        ("read", "/nowhere"),
    ):
        assert shop.admin.get(service, path).headers["Cache-Control"] == "no-store"


@every_service
def test_request_head_over_limit_is_rejected(shop: RunningShop, service: str):
    problem_of(httpx.get(shop.url(service), headers={"a": "b" * 70_000}), 431)
