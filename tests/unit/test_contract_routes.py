"""The published contracts over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from shared.chassis.http.app import provide
from shared.chassis.http.contracts import ContractController
from shared.chassis.http.problems import ProblemDetails
from shared.chassis.messages.catalog import Catalog
from shared.contracts import OrderConfirmed, OrderNudged

SCHEMA = b'{"$id": "urn:quadrille:event:OrderConfirmed:1"}'


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "OrderConfirmed.v1.json").write_bytes(SCHEMA)
    (tmp_path / "schemas" / "OrderConfirmed.v2.json").write_bytes(SCHEMA)
    (tmp_path / "asyncapi.json").write_bytes(b'{"asyncapi": "3.0.0"}')
    return tmp_path


def client_of(documents: Path | None) -> TestClient[Litestar]:
    catalog = Catalog([OrderConfirmed, OrderNudged], key_issuer="order", documents=documents)
    return TestClient(
        Litestar(
            [ContractController],
            dependencies={"catalog": provide(catalog)},
            plugins=[ProblemDetails()],
            openapi_config=None,
        )
    )


@pytest.fixture
def client(documents: Path) -> Iterator[TestClient[Litestar]]:
    with client_of(documents) as client:
        yield client


def test_schema_is_served_as_it_was_published(client: TestClient[Litestar]):
    response = client.get("/contracts/events/OrderConfirmed/1.json")
    assert response.status_code == 200
    assert response.content == SCHEMA
    assert response.headers["Content-Type"] == "application/schema+json"


def test_asyncapi_document_is_served(client: TestClient[Litestar]):
    assert client.get("/contracts/asyncapi.json").json() == {"asyncapi": "3.0.0"}


@pytest.mark.parametrize(
    "path",
    [
        "OrderMislaid/1.json",
        "OrderConfirmed/2.json",
        "OrderConfirmed/0.json",
        "OrderConfirmed/1",
        "OrderConfirmed/01.json",
        "OrderNudged/1.json",
        "..%2fschemas%2fOrderConfirmed/1.json",
        "OrderConfirmed/..%2f..%2fasyncapi.json",
    ],
)
def test_schema_of_unknown_version_is_not_found(client: TestClient[Litestar], path: str):
    response = client.get(f"/contracts/events/{path}")
    assert response.status_code == 404


def test_unknown_contract_is_a_problem(client: TestClient[Litestar]):
    problem = client.get("/contracts/events/OrderMislaid/1.json").json()
    assert problem["type"] == "urn:quadrille:problem:unknown-contract"
    assert problem["detail"] == "there is no contract 'OrderMislaid/1.json'"


def test_service_without_documents_has_no_contracts():
    with client_of(None) as client:
        assert client.get("/contracts/asyncapi.json").status_code == 404
