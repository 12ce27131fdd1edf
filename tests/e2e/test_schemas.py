"""Each running service conforms to its OpenAPI document, for the admin and for a guest."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.support.addresses import ADDRESS_BODY
from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_expectations import SERVICES

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    positive_data_acceptance,
    unsupported_method,
    ignored_auth,
]

VALID, INVALID = 6, 3
"""Requests to each route that conform to its schema, and that do not."""

POSSIBLE = ["2xx", "401", "403", "404", "409", "422", "429", "503"]
"""Responses to what conforms to the schema: a rule of the shop may reject it, but never the form."""

CONFIG = SchemathesisConfig.from_dict(
    {"checks": {"positive_data_acceptance": {"expected-statuses": POSSIBLE}}}
)

quick = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[*HealthCheck],
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningShop]:
    """A shop that tests may leave in any state."""
    directory = tmp_path_factory.mktemp("shop")
    with RunningShop(directory, carrier_success_rate=1) as shop:
        await shop.start()
        await shop.stock_up(plenty=100_000)
        yield shop


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def existing(shop: RunningShop) -> dict[str, str]:
    """Existing ids, by their names in paths and bodies."""
    order_id = shop.guest.order(("plenty", 1), email="guest@example.com")["orderId"]
    await shop.until(order_id, "COMPLETED")
    mails = await eventually(
        lambda: shop.admin.show("notifier", "/notifications", orderId=order_id)["items"]
    )
    return {
        "order_id": order_id,
        "product_id": "plenty",
        "productId": "plenty",
        "name": "simulated",
        "notification_id": mails[0]["notificationId"],
    }


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def operations(schema: BaseSchema) -> Iterator[APIOperation]:
    """All operations except streams, which do not end."""
    for result in schema.get_all_operations():
        operation = result.ok()
        if not operation.path.endswith("/stream"):
            yield operation


LEFT_OUT = {"Consistency-Token", "Idempotency-Key", "If-Match", "after", "cursor", "from", "to"}
"""Parameters whose valid values depend on the state of the service, or on each other."""

CHOSEN: dict[str, Any] = {
    "address_name": "home",
    "email": "head@example.com",
    "minDelaySeconds": 0,
    "newPassword": "battery staple",
    "number": "7K3F-92QM",
    "password": "correct horse",
    "q": "keyboard",
    "shippingAddress": ADDRESS_BODY,
    "timezone": "Asia/Tokyo",
}
"""Values of fields and parameters whose validity the schema alone does not determine."""

NEEDED: dict[str, dict[str, Any]] = {
    "/orders": {"items": [{"productId": "plenty", "quantity": 1}], "shippingAddress": ADDRESS_BODY},
    "/cart/checkout": {"shippingAddress": ADDRESS_BODY},
    "/events/resend": {"from": 1, "to": 1},
    "/redrives": {"type": "NoSuchEvent"},
}
"""What a body needs besides what its schema requires: it depends on the caller, on a setting, or on another field."""


def with_valid_values(case: Case) -> Case:
    for name in LEFT_OUT:
        case.query.pop(name, None)
        case.headers.pop(name, None)
    if case.method == "POST" and (needed := NEEDED.get(case.path)):
        case.body = {**(case.body if isinstance(case.body, dict) else {}), **needed}
        case.body.pop("addressName", None)  # either it or shippingAddress
    case.body = with_whole_numbers(case.body)
    for part in (case.path_parameters, case.query, case.body):
        if isinstance(part, dict):
            part.update({name: CHOSEN[name] for name in CHOSEN.keys() & part.keys()})
    return case


def with_whole_numbers(value: Any) -> Any:
    """JSON Schema takes 2.0 for an integer. Services do not: a client that writes it may compute with fractions."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: with_whole_numbers(field) for name, field in value.items()}
        case list():
            return [with_whole_numbers(item) for item in value]
        case _:
            return value


def with_existing_ids(existing: Mapping[str, str], case: Case) -> Case:
    case.path_parameters = {
        name: existing.get(name, value) for name, value in case.path_parameters.items()
    }
    if isinstance(case.body, dict):
        case.body = {name: existing.get(name, value) for name, value in case.body.items()}
    return case


@pytest.mark.parametrize("who", ["admin", "guest"])
@pytest.mark.parametrize("service", SERVICES)
def test_service_conforms_to_its_openapi_document(
    shop: RunningShop, existing: dict[str, str], session: requests.Session, service: str, who: str
):
    schema = schemathesis.openapi.from_dict(
        shop.admin.show(service, "/schema/openapi.json"), config=CONFIG
    )
    headers = shop.admin.headers if who == "admin" else {}

    def conforms(case: Case) -> None:
        case.headers.update(headers)  # in the case, so that the checks see what was sent
        response = case.call(base_url=shop.url(service), session=session)
        case.validate_response(response, checks=CHECKS, headers=headers)

    for operation in operations(schema):
        valid = operation.as_strategy().map(with_valid_values)
        both = st.one_of(valid, valid.map(lambda case: with_existing_ids(existing, case)))
        settings(quick, max_examples=VALID)(given(both)(conforms))()
        if can_be_invalid(operation):
            invalid = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
            settings(quick, max_examples=INVALID)(given(invalid)(conforms))()


def can_be_invalid(operation: Any) -> bool:
    """Whether a request to it has any part that could be wrong."""
    return bool(operation.body or operation.query or operation.headers)
