"""The tasks of a running service as an operator sees, hastens and ends them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from httpx import ASGITransport, AsyncClient, Response

from order_service.accounts.key_events import PublishKeys
from order_service.handlers import pass_deadline
from order_service.orders.domain import PlaceOrder, RequestedItem
from shared.chassis.engine.task_runner import Retry, TaskHandler
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.runtime.service import Service
from shared.chassis.storage.task_queue import Task
from shared.contracts import (
    LineItem,
    OrderCreated,
    OrderItem,
    ProductCreated,
    StockReserved,
)
from shared.settings import ShopSettings
from shipping_service.domain import CompleteShipment, FailShipment
from shipping_service.handlers import BOOKING, UNAVAILABLE
from tests.support.access import Issuer
from tests.support.chassis import ORDER, SHIPPING, ServiceSpec, log_of, service_of, started
from tests.support.eventually import eventually
from tests.support.history import recorded

Json = dict[str, Any]
LATER = Retry(first_seconds=1000)
OTHER_REASON = {"reason": "the carrier is closed"}


class Operator:
    """A service with task handlers of the test, and an operator's requests to it."""

    def __init__(self, service: Service, http: AsyncClient, issuer: Issuer) -> None:
        self.service = service
        self._http = http
        self._headers = issuer.headers("olga", "operator")

    async def get(self, path: str, **query: str) -> Response:
        return await self._http.get(path, params=query, headers=self._headers)

    async def post(self, path: str, body: Json | None = None) -> Response:
        return await self._http.post(path, json=body, headers=self._headers)

    async def tasks(self, **query: str) -> list[Json]:
        answer = await self.get("/tasks", **query)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    async def ship(self, *order_ids: str) -> None:
        for order_id in order_ids:
            item = OrderItem(product_id="p1", quantity=1, price=5000)
            created = OrderCreated(
                order_id=order_id, user_id="u", items=(item,), total_amount=5000, currency="JPY"
            )
            line = LineItem(product_id="p1", quantity=1)
            reserved = StockReserved(order_id=order_id, items=(line,))
            await self.service.writer.handle([recorded(created), recorded(reserved)])

    async def failed_once(self, number: int = 1) -> list[Json]:
        async def have_failed() -> list[Json] | None:
            tasks = await self.tasks(state="retrying")
            return tasks if len(tasks) == number else None

        return await eventually(have_failed)

    async def event_types(self) -> list[str]:
        log = await log_of(self.service.reads, self.service.source)
        return [event.event_type for event in log]


@contextlib.asynccontextmanager
async def operating(
    settings: ShopSettings, spec: ServiceSpec, *handlers: TaskHandler
) -> AsyncIterator[Operator]:
    service = service_of(settings, spec, handlers)
    issuer = Issuer()
    async with (
        started(service.app("Test", [])) as app,
        AsyncClient(transport=ASGITransport(app), base_url="http://service") as http,
    ):
        if spec is ORDER:  # a service trusts no event of its own that it did not record
            keys: Any = (issuer.published,)
            await service.writer.execute(CommandEnvelope(PublishKeys(keys=keys)))
        else:
            await service.writer.handle([recorded(issuer.published)])
        yield Operator(service, http, issuer)


class Carrier:
    """Books only while it is open."""

    def __init__(self) -> None:
        self.is_open = False
        self.asked: list[str] = []

    async def book(self, due: Task) -> CompleteShipment:
        self.asked.append(due.task_key)
        if not self.is_open:
            raise ConnectionError("closed")
        return CompleteShipment(order_id=due.task_key, tracking_number="T1")

    def handler(self) -> TaskHandler:
        return TaskHandler(BOOKING, self.book, give_up, LATER)


def give_up(due: Task, _error: str) -> FailShipment:
    return FailShipment(order_id=due.task_key, reason=UNAVAILABLE)


async def test_failed_task_is_listed_as_retrying(shop_settings: ShopSettings):
    async with operating(shop_settings, SHIPPING, Carrier().handler()) as operator:
        await operator.ship("o1")
        [task] = await operator.failed_once()
    assert (task["kind"], task["key"], task["orderId"]) == (BOOKING, "o1", "o1")
    assert (task["attempts"], task["lastError"]) == (1, "ConnectionError: closed")
    assert (task["states"], task["mayBeGivenUp"]) == (["retrying"], True)


async def test_pages_contain_each_task_once(shop_settings: ShopSettings):
    async with operating(shop_settings, SHIPPING, Carrier().handler()) as operator:
        await operator.ship("o1", "o2", "o3")
        await operator.failed_once(3)
        first = (await operator.get("/tasks", limit="2")).json()
        second = (await operator.get("/tasks", limit="2", cursor=first["nextCursor"])).json()
        of_order = await operator.tasks(orderId="o2", kind=BOOKING)
        assert await operator.tasks(state="due") == []
    keys = [task["key"] for task in [*first["items"], *second["items"]]]
    assert (sorted(keys), second["nextCursor"]) == (["o1", "o2", "o3"], None)
    assert [task["key"] for task in of_order] == ["o2"]


async def test_task_run_now_does_not_wait(shop_settings: ShopSettings):
    carrier = Carrier()
    async with operating(shop_settings, SHIPPING, carrier.handler()) as operator:
        await operator.ship("o1")
        await operator.failed_once()
        carrier.is_open = True
        answer = await operator.post("/tasks/booking/o1/run")
        assert (answer.status_code, answer.json()["states"]) == (202, ["due", "retrying"])
        await eventually(lambda: _is_empty(operator))
        assert await operator.event_types() == ["ShipmentInitiated", "ShipmentCompleted"]
        assert (await operator.post("/tasks/booking/o1/run")).status_code == 404


async def test_deadline_run_now_expires_its_order(shop_settings: ShopSettings):
    deadline = TaskHandler("deadline", pass_deadline)
    async with operating(shop_settings, ORDER, deadline) as operator:
        await _place_order(operator.service)
        [task] = await operator.tasks()
        assert (task["kind"], task["states"], task["mayBeGivenUp"]) == ("deadline", [], False)
        assert (await operator.post("/tasks/deadline/o1/run")).status_code == 202

        async def has_expired() -> bool:
            return "OrderCancellationRequested" in await operator.event_types()

        await eventually(has_expired)
        given_up = await operator.post("/tasks/deadline/o1/give-up", OTHER_REASON)
        assert (given_up.status_code, given_up.json()["type"]) == (
            409,
            "urn:quadrille:problem:task-not-given-up",
        )


async def test_task_given_up_fails_its_shipment(shop_settings: ShopSettings):
    async with operating(shop_settings, SHIPPING, Carrier().handler()) as operator:
        await operator.ship("o1")
        await operator.failed_once()
        without_reason = await operator.post("/tasks/booking/o1/give-up", {})
        answer = await operator.post("/tasks/booking/o1/give-up", OTHER_REASON)
        assert (without_reason.status_code, answer.status_code) == (400, 200)
        assert await operator.event_types() == ["ShipmentInitiated", "ShipmentFailed"]
        failed = (await log_of(operator.service.reads, "shipping"))[-1]
        assert failed.actor == "operator:olga"
        assert [task["kind"] for task in await operator.tasks()] == ["withdrawal"]
        again = await operator.post("/tasks/booking/o1/give-up", OTHER_REASON)
        assert (again.status_code, again.json()["type"]) == (
            404,
            "urn:quadrille:problem:unknown-task",
        )


async def test_running_task_cannot_be_given_up(shop_settings: ShopSettings):
    may_end = asyncio.Event()

    async def book(due: Task) -> CompleteShipment:
        await may_end.wait()
        return CompleteShipment(order_id=due.task_key, tracking_number="T1")

    handler = TaskHandler(BOOKING, book, give_up)
    async with operating(shop_settings, SHIPPING, handler) as operator:
        await operator.ship("o1")
        await eventually(lambda: _is_running(operator))
        answer = await operator.post("/tasks/booking/o1/give-up", OTHER_REASON)
        may_end.set()
        await eventually(lambda: _is_empty(operator))
        assert (answer.status_code, answer.json()["type"]) == (
            409,
            "urn:quadrille:problem:task-running",
        )
        assert await operator.event_types() == ["ShipmentInitiated", "ShipmentCompleted"]


async def _is_empty(operator: Operator) -> bool:
    return await operator.tasks() == []


async def _is_running(operator: Operator) -> bool:
    tasks: Sequence[Json] = await operator.tasks()
    return bool(tasks) and tasks[0]["running"]


async def _place_order(service: Service) -> None:
    product = ProductCreated(product_id="p1", name="Thing", description="", price=100)
    await service.writer.handle([recorded(product)])
    items = (RequestedItem(product_id="p1", quantity=1),)
    order = PlaceOrder(order_id="o1", user_id="u", items=items, currency="JPY")
    await service.writer.execute(CommandEnvelope(order))
