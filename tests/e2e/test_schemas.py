"""What each service's OpenAPI document says, held against the running service: by the admin, and by nobody."""

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
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.support.eventually import eventually
from tests.support.running_shop import SERVICES, Fleet

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
    ignored_auth,
]

AS_SAID, OTHERWISE = 8, 4
"""So many requests of each kind to a route: some as its schema says, some not."""

quick = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[*HealthCheck],
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """A shop that may be left in any state."""
    directory = tmp_path_factory.mktemp("shop")
    with Fleet(directory, carrier_success_rate=1) as fleet:
        await fleet.start()
        await fleet.stock_up(plenty=100_000)
        yield fleet


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def known(shop: Fleet) -> dict[str, str]:
    """What there is, by the name that paths and bodies have for it."""
    order_id = shop.order(("plenty", 1), email="guest@example.com")["orderId"]
    await shop.until(order_id, "COMPLETED")
    mails = await eventually(
        lambda: shop.show("notifier", "/notifications", orderId=order_id)["items"]
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
    """Every operation but the streams, which never end."""
    for found in schema.get_all_operations():
        operation = found.ok()
        if not operation.path.endswith("/stream"):
            yield operation


def about(known: Mapping[str, str], case: Case) -> Case:
    """The request, about things that there are."""
    case.path_parameters = {
        name: known.get(name, value) for name, value in case.path_parameters.items()
    }
    if isinstance(case.body, dict):
        case.body = {name: known.get(name, value) for name, value in case.body.items()}
    return case


@pytest.mark.parametrize("who", ["admin", "nobody"])
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_answers_as_its_document_says(
    shop: Fleet, known: dict[str, str], session: requests.Session, service: str, who: str
):
    schema = schemathesis.openapi.from_dict(shop.show(service, "/schema/openapi.json"))
    headers = shop.admin_headers if who == "admin" else {}

    def hold(case: Case) -> None:
        case.headers.update(headers)  # in the case, so that the checks judge what was really sent
        response = case.call(base_url=shop.url(service), session=session)
        case.validate_response(response, checks=CHECKS, headers=headers)

    for operation in operations(schema):
        as_said = operation.as_strategy()
        both = st.one_of(as_said, as_said.map(lambda case: about(known, case)))
        settings(quick, max_examples=AS_SAID)(given(both)(hold))()
        if can_be_asked_otherwise(operation):
            otherwise = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
            settings(quick, max_examples=OTHERWISE)(given(otherwise)(hold))()


def can_be_asked_otherwise(operation: Any) -> bool:
    """Whether there is anything in a request to it that could be wrong."""
    return bool(operation.body or operation.query or operation.headers)
