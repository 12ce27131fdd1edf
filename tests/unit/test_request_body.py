"""Request bodies: how the application reads them, and how its document describes them."""

from collections.abc import Iterator

import pytest
from litestar import Litestar, post
from litestar.params import JSONBody
from litestar.testing import TestClient

from shared.chassis.http import openapi
from shared.chassis.http.problems import ProblemDetails
from shared.chassis.http.request_body import RequestBody, ServiceRequest


class Line(RequestBody, frozen=True, kw_only=True):
    quantity: int


class Parcel(RequestBody, frozen=True, kw_only=True):
    line_items: tuple[Line, ...] = ()


EMPTY = Parcel()


@post("/required", sync_to_thread=False)
def count(data: JSONBody[Parcel]) -> int:
    return sum(line.quantity for line in data.line_items)


@post("/optional", sync_to_thread=False)
def count_or_none(data: JSONBody[Parcel] = EMPTY) -> int:
    return sum(line.quantity for line in data.line_items)


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    app = Litestar(
        [count, count_or_none],
        request_class=ServiceRequest,
        plugins=[ProblemDetails()],
        openapi_config=openapi.config("test"),
    )
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"lineItems":[{"quantity":"2"}]}', "lineItems[0].quantity: expected an integer"),
        ('{"lineItems":[{"quantity":2,"colour":1}]}', "lineItems[0].colour: unknown field"),
        ('{"line_items":[]}', "line_items: unknown field"),
        ("null", "body: expected an object, got null"),
        ("[]", "body: expected an object, got a list"),
        ("{", "body: not JSON"),
        ("", "body: required"),
    ],
)
def test_wrong_body_is_a_problem_naming_the_field(
    client: TestClient[Litestar], body: str, message: str
):
    response = client.post("/required", content=body)
    assert response.status_code == 400
    assert response.json()["type"] == "urn:quadrille:problem:invalid-request"
    assert response.json()["detail"].startswith(message)


def test_optional_body_may_be_missing_but_not_null(client: TestClient[Litestar]):
    assert client.post("/optional").json() == 0
    assert client.post("/optional", content='{"lineItems":[{"quantity":2}]}').json() == 2
    assert client.post("/optional", content="null").status_code == 400


def test_document_closes_bodies_and_marks_optional_ones(client: TestClient[Litestar]):
    document = client.get("/schema/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert schemas["Parcel"]["additionalProperties"] is False
    assert schemas["Line"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["Problem"]
    assert document["paths"]["/required"]["post"]["requestBody"]["required"] is True
    assert document["paths"]["/optional"]["post"]["requestBody"]["required"] is False
