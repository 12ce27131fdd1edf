"""Query parameters: each route takes its own and those of the layers above it, once each."""

from collections.abc import Iterator
from typing import Annotated

import pytest
from litestar import Litestar, Router, get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.testing import TestClient

from shared.chassis.http.problems import ProblemDetails
from shared.chassis.http.query import QueryCheck


@get("/{place:str}", sync_to_thread=False)
def find(
    place: FromPath[str],
    colour: FromQuery[str],
    limit: FromQuery[int] = 5,
    order_id: Annotated[str | None, QueryParameter(name="orderId")] = None,
) -> list[object]:
    return [place, colour, limit, order_id]


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    after = QueryParameter(name="after", annotation=str | None, default=None)
    router = Router("/", route_handlers=[find], parameters={"after": after})
    with TestClient(
        Litestar([router], middleware=[QueryCheck], plugins=[ProblemDetails()])
    ) as client:
        yield client


def test_own_and_layered_parameters_are_accepted(client: TestClient[Litestar]):
    response = client.get("/here?colour=null&limit=2&orderId=7&after=order:1")
    assert response.json() == ["here", "null", 2, "7"]


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("colour=red&place=there", "place", "unknown; the route has after, colour, limit, orderId"),
        ("colour=red&orderid=7", "orderid", "unknown; did you mean orderId?"),
        ("colour=red&order_id=7", "order_id", "unknown; did you mean orderId?"),
        ("colour=red&colour=blue", "colour", "given more than once"),
        ("colour=red&limit=null", "limit", "expected a value, got null"),
        ("colour=red&" + "x" * 100, "x" * 64, "unknown; the route has after, colour, limit, orderId"),
    ],
)  # fmt: skip
def test_other_parameter_is_refused_by_its_name(
    client: TestClient[Litestar], query: str, field: str, message: str
):
    response = client.get(f"/here?{query}")
    assert response.status_code == 400
    assert response.json()["errors"] == [{"field": field, "message": message}]
