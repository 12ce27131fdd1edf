from typing import Annotated, Literal

import msgspec
import pytest
from litestar import Litestar, get
from litestar.exceptions import InternalServerException
from litestar.params import FromPath
from litestar.testing import TestClient
from structlog.testing import capture_logs

from shared.chassis.http.problems import ProblemDetails, field_error
from shared.chassis.messages.event import Id
from shared.contracts import Money, Quantity


class Item(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    product_id: Id
    quantity: Quantity


class NewOrder(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    user_id: Id = "guest"
    locale: Literal["en", "ja"] | None = None
    items: Annotated[tuple[Item, ...], msgspec.Meta(min_length=1)]
    shipping_address: dict[str, str] | None = None


class NewProduct(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    name: str
    price: Money


class StockChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    quantity: Annotated[int, msgspec.Meta(le=1_000_000)]


LINE = '{"productId":"p1","quantity":1}'


@pytest.mark.parametrize(
    ("schema", "body", "expected"),
    [
        (
            NewOrder,
            '{"items":[{"productId":"p1","quantity":0}]}',
            "items[0].quantity: expected an integer ≥ 1",
        ),
        (
            NewOrder,
            f'{{"items":[{LINE},{{"productId":"p1","quantity":"2"}}]}}',
            "items[1].quantity: expected an integer, got a string",
        ),
        (
            NewOrder,
            '{"items":[{"productId":"p1","quantity":1.5}]}',
            "items[0].quantity: expected an integer, got a number",
        ),
        (NewOrder, '{"items":[{"productId":"p1"}]}', "items[0].quantity: required"),
        (NewOrder, f'{{"items":[{LINE}],"colour":1}}', "colour: unknown field"),
        (
            NewOrder,
            '{"items":[{"productId":"p1","quantity":1,"discount":5}]}',
            "items[0].discount: unknown field",
        ),
        (NewOrder, "{}", "items: required"),
        (NewOrder, '{"items":[]}', "items: expected a list of length ≥ 1"),
        (NewOrder, "[]", "body: expected an object, got a list"),
        (NewOrder, f'{{"items":[{LINE}],"userId":null}}', "userId: expected a string, got null"),
        (NewOrder, f'{{"items":[{LINE}],"locale":"fr"}}', "locale: invalid enum value 'fr'"),
        (
            NewOrder,
            f'{{"items":[{LINE}],"shippingAddress":{{"city":1}}}}',
            "shippingAddress: expected a string, got an integer",
        ),
        (
            NewProduct,
            '{"name":"K","price":-1}',
            "price: expected an integer ≥ 0",
        ),
        (
            StockChange,
            '{"quantity":2000000}',
            "quantity: expected an integer ≤ 1000000",
        ),
        (StockChange, '{"quantity":true}', "quantity: expected an integer, got true or false"),
    ],
)
def test_invalid_field_is_named_with_reason(schema: type[msgspec.Struct], body: str, expected: str):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=schema)
    problem = field_error(caught.value)
    assert f"{problem.field}: {problem.message}" == expected


def test_server_error_is_masked_and_logged_without_ids():
    @get("/orders/{order_id:str}", sync_to_thread=False)
    def fail(order_id: FromPath[str]) -> None:
        raise InternalServerException(f"{order_id}: SELECT secret")

    with (
        capture_logs() as logs,
        TestClient(Litestar([fail], plugins=[ProblemDetails()])) as client,
    ):
        answer = client.get("/orders/0190-secret")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    [entry] = logs
    assert (entry["event"], entry["route"]) == ("request.failed", "/orders/{order_id}")
