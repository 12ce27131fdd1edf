"""The dead letters of a running service as an operator sees, tries, redrives and discards them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from shared.chassis.messages.received import MalformedMessage
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime.service import Service
from shared.contracts import CATALOG, OrderCreated, OrderItem, ShipmentCancelled
from shared.settings import ShopSettings
from tests.support.access import Issuer
from tests.support.chassis import INVENTORY, started
from tests.support.history import recorded
from tests.support.redriving import Rules

Json = dict[str, Any]


class Operator:
    """A service whose rules may fail, and requests to it."""

    def __init__(self, service: Service[Any, Any], rules: Rules, http: httpx.AsyncClient) -> None:
        self.service = service
        self.rules = rules
        self.http = http

    async def park(self, *order_ids: str) -> None:
        """The order's first event fails, and another waits."""
        for order_id in order_ids:
            self.rules.faulty.add(order_id)
            cancelled = recorded(ShipmentCancelled(order_id=order_id, reason="CUSTOMER"))
            await self.service.writer.handle([ordered(order_id), cancelled])

    async def get(self, path: str, **query: str) -> Json:
        return _json(await self.http.get(path, params=query))

    async def post(self, path: str, body: Json | None = None) -> Json:
        return _json(await self.http.post(path, json=body))

    async def until_finished(self, redrive: Json) -> Json:
        assert redrive["finished"]
        return await self.get(f"/redrives/{redrive['redriveId']}")


def _json(answer: httpx.Response) -> Json:
    assert answer.is_success, answer.text
    document: Json = answer.json()
    return document


def ordered(order_id: str) -> RecordedEvent:
    item = OrderItem(product_id="p1", quantity=1, price=5000)
    return recorded(
        OrderCreated(
            order_id=order_id, user_id="u", items=(item,), total_amount=5000, currency="JPY"
        )
    )


@asynccontextmanager
async def operating(settings: ShopSettings) -> AsyncIterator[Operator]:
    rules, issuer = Rules(), Issuer()
    service = Service(
        "inventory",
        settings,
        rules.logic,
        INVENTORY.tables,
        catalog=CATALOG,
        derived=INVENTORY.derived,
    )
    async with (
        started(service.app("Test", [])) as app,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://service",
            headers=issuer.headers("olga", "operator"),
        ) as http,
    ):
        await service.writer.handle([recorded(issuer.published)])
        yield Operator(service, rules, http)


@pytest.fixture
async def operator(shop_settings: ShopSettings) -> AsyncIterator[Operator]:
    async with operating(shop_settings) as running:
        yield running


async def test_letters_are_grouped_and_filtered(operator: Operator):
    await operator.park("o1", "o2", "o3")
    await operator.service.writer.handle(
        [MalformedMessage(subject="shop.order.x.y", body=b"\xff", error="no event")]
    )
    answer = await operator.get("/dead-letters")
    assert [
        (group["type"], group["status"], group["error"], group["letters"])
        for group in answer["groups"]
    ] == [
        ("OrderCreated", "PARKED", "ZeroDivisionError: no answer for …", 3),
        ("ShipmentCancelled", "WAITING", "its entity is parked", 3),
        (None, "UNDECODABLE", "no event", 1),
    ]
    assert len(answer["items"]) == 7
    error = "ZeroDivisionError: no answer for …"
    for query, number in [
        ({"type": "OrderCreated"}, 3),
        ({"status": "UNDECODABLE"}, 1),
        ({"status": "DISCARDED"}, 0),
        ({"error": "answer for o2"}, 1),
        ({"error": error}, 3),
        ({"source": "shipping"}, 3),
        ({"source": "shipping", "type": "OrderCreated"}, 0),
    ]:
        assert len((await operator.get("/dead-letters", **query))["items"]) == number, query


async def test_pages_contain_each_letter_once(operator: Operator):
    await operator.park("o1", "o2")
    whole = await operator.get("/dead-letters")
    pages, query = [], {"limit": "3"}
    while True:
        pages.append(await operator.get("/dead-letters", **query))
        if pages[-1]["nextCursor"] is None:
            break
        query["cursor"] = pages[-1]["nextCursor"]
    assert [item for page in pages for item in page["items"]] == whole["items"]
    assert [bool(page["groups"]) for page in pages] == [True, False]


async def test_entity_is_shown_with_bodies(operator: Operator):
    await operator.park("o1")
    first, second = (await operator.get("/dead-letters/o1"))["items"]
    assert '"type":"OrderCreated"' in first["body"]
    assert (first["entity"], first["source"], second["status"]) == ("o1", "order", "WAITING")


async def test_trial_and_redrive_agree(operator: Operator):
    await operator.park("o1", "o2")
    operator.rules.faulty.clear()
    trial = await operator.post("/dead-letters/o1/try")
    assert [event["type"] for item in trial["items"] for event in item["events"]] == [
        "StockReservationFailed",
        "EventRedriven",
        "EventRedriven",
    ]
    assert trial["changes"][0]["after"]["status"] == "REFUSED"
    redrive = await operator.until_finished(await operator.post("/dead-letters/o1/redrive"))
    assert redrive["outcomes"] == {"HANDLED": 2}
    assert redrive["requestedBy"] == "olga"
    assert [(item["eventId"], item["outcome"]) for item in redrive["items"]] == [
        (item["eventId"], item["outcome"]) for item in trial["items"]
    ]
    assert {item["entity"] for item in (await operator.get("/dead-letters"))["items"]} == {"o2"}


async def test_filter_redrives_many_entities(operator: Operator):
    await operator.park("o1", "o2", "o3")
    operator.rules.faulty = {"o2"}
    [group, *_] = (await operator.get("/dead-letters", type="OrderCreated"))["groups"]
    body = {"error": group["error"], "type": group["type"]}
    redrive = await operator.until_finished(await operator.post("/redrives", body))
    assert redrive["outcomes"] == {"HANDLED": 4, "FAILED": 1, "WAITING": 1}


async def test_discarded_letter_is_listed_with_its_reason(operator: Operator):
    await operator.park("o1")
    operator.rules.faulty.clear()
    letter, _ = (await operator.get("/dead-letters/o1"))["items"]
    body = {"eventId": letter["eventId"], "reason": "a test order"}
    discarded = await operator.post("/dead-letters/o1/discard", body)
    assert discarded["redrive"]["outcomes"] == {"HANDLED": 1}
    assert (await operator.get("/dead-letters"))["items"] == []
    [record] = (await operator.get("/dead-letters", status="DISCARDED"))["items"]
    assert (record["discardedBy"], record["reason"]) == ("olga", "a test order")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/dead-letters/none/redrive", None, 404),
        ("/dead-letters/none/try", None, 404),
        ("/dead-letters/none/discard", {"eventId": "e", "reason": "r"}, 404),
        ("/dead-letters/none/discard", {"eventId": "e", "reason": ""}, 400),
        ("/redrives", {}, 400),
    ],
)
async def test_request_without_letters_is_refused(
    operator: Operator, path: str, body: Json | None, status: int
):
    assert (await operator.http.post(path, json=body)).status_code == status
