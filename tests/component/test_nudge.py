"""A nudge on real databases and a real broker: what was lost is published again, and what waits is tried now."""

import asyncio
from contextlib import suppress
from functools import partial

from msgspec.structs import replace
from sqlalchemy import delete

from inventory_service.domain import CreateProduct, Description
from order_service.handlers import TASK_HANDLERS
from order_service.orders.domain import NudgeOrder, PlaceOrder, RequestedItem
from shared.chassis.engine.task_runner import Retry, TaskHandler
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import STREAM
from shared.chassis.runtime.service import Service
from shared.chassis.storage import task_queue
from shared.chassis.storage.event_log import EVENT_LOG
from shared.chassis.storage.task_queue import TASK, Task
from shared.contracts import (
    LineItem,
    OrderCreated,
    OrderItem,
    OrderNudged,
    ProductCreated,
    StockReserved,
)
from shared.settings import ShopSettings
from shipping_service.domain import CompleteShipment
from shipping_service.handlers import BOOKING
from tests.support.chassis import INVENTORY, ORDER, SHIPPING, log_of, publishing, rows_of, serving
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.order_client import OrderClient, open_order_service, problem_of
from tests.support.shop_client import order_of

ADMIN_PASSWORD = "open sesame"
NUDGED = OrderNudged(order_id="o1")
LINE = LineItem(product_id="p1", quantity=1)
CREATED = OrderCreated(
    order_id="o1",
    user_id="user123",
    items=(OrderItem(product_id="p1", quantity=1, price=5000),),
    total_amount=5000,
    currency="JPY",
)
PRODUCT = CreateProduct(
    product_id="p1", description=Description(name="Thing", description="", price=5000), stock=9
)

LISTED = ProductCreated(product_id="p1", name="Thing", description="", price=5)
ORDERED = PlaceOrder(
    order_id="o1",
    user_id="guest",
    items=(RequestedItem(product_id="p1", quantity=1),),
    currency="JPY",
)


async def event_types(service: Service) -> list[str]:
    return [event.event_type for event in await log_of(service.reads, service.source)]


async def resends(service: Service) -> list[int]:
    """By position, once all events are published."""
    rows = await rows_of(service.reads, EVENT_LOG)
    return [row["resends"] for row in rows] if all(row["stream_seq"] for row in rows) else []


async def lose_for(source: str, number: int, broker: JetStreamConnection) -> list[str]:
    """Acknowledge the next events that the service has to receive, as if it had handled them; returns the subjects."""
    subscription = await broker.jetstream().pull_subscribe_bind(source, stream=STREAM)
    lost: list[str] = []
    async with asyncio.timeout(30):
        while len(lost) < number:
            with suppress(TimeoutError):
                for message in await subscription.fetch(number - len(lost), timeout=1):
                    await message.ack_sync()
                    lost.append(message.subject)
    return lost


async def placed(orders: OrderClient) -> str:
    """The id of a new order, as soon as the product is for sale."""

    async def place() -> str | None:
        body = order_of([("p1", 1)], {})
        answer = await orders.ask("POST", "/orders", body)
        return answer.json().get("orderId")

    order_id = await eventually(place)
    assert order_id
    return order_id


async def test_nudge_repairs_what_a_service_lost(shop_settings: ShopSettings):
    settings = replace(
        shop_settings, admin_password=ADMIN_PASSWORD, rate_limits="nudges_per_order=1/day"
    )
    async with serving(settings, SHIPPING) as shipping:
        await eventually(lambda: not shipping.waiting_for())
    async with (
        open_order_service(settings) as orders,
        serving(settings, INVENTORY) as inventory,
        publishing(settings) as broker,
    ):
        await inventory.writer.execute(CommandEnvelope(PRODUCT))
        order_id = await placed(orders)
        await eventually(lambda: is_published("StockReserved", inventory))
        lost = await lose_for("shipping", 3, broker)
        assert [subject.rpartition(".")[2] for subject in lost] == [
            "signing_key_published",
            "order_created",
            "stock_reserved",
        ]
        token = (await orders.sign_in(shop_settings.admin_email, ADMIN_PASSWORD))["accessToken"]
        path = f"/orders/{order_id}/nudge"
        async with serving(settings, SHIPPING) as shipping:
            answer = await orders.ask("POST", path, token=token)
            assert (answer.status_code, answer.json()["status"]) == (202, "AWAITING_SHIPMENT")
            await eventually(lambda: is_published("ShipmentInitiated", shipping))
        problem_of(await orders.ask("POST", path, token=token), 429, "too-many-requests")
        unknown = await orders.ask("POST", "/orders/none/nudge", token=token)
        problem_of(unknown, 404, "unknown-order")


async def is_published(event_type: str, service: Service) -> bool:
    rows = await rows_of(service.reads, EVENT_LOG)
    return any(row["event_type"] == event_type and row["stream_seq"] for row in rows)


async def test_nudge_resends_its_order_and_newest_event(shop_settings: ShopSettings):
    async with serving(shop_settings, INVENTORY) as service:
        await service.writer.execute(CommandEnvelope(PRODUCT))
        for order_id in ("o1", "o2"):
            await service.writer.handle([recorded(replace(CREATED, order_id=order_id))])
        assert await event_types(service) == [
            *("ProductCreated", "StockAdded", "StockReserved", "StockReserved")
        ]
        await eventually(lambda: resends(service))
        nudge = recorded(NUDGED)
        await service.writer.handle([nudge])
        assert await eventually(lambda: resends(service)) == [0, 0, 1, 1]
        await service.writer.handle([nudge])
        last = await service.broker.jetstream().get_last_msg(STREAM, "shop.inventory.>")
        assert last.subject == "shop.inventory.o2.stock_reserved"
        assert await resends(service) == [0, 0, 1, 1]


async def test_nudge_tries_waiting_tasks_of_its_order(shop_settings: ShopSettings):
    tried: list[str] = []

    async def book(due: Task) -> CompleteShipment:
        tried.append(due.task_key)
        if tried.count(due.task_key) == 1:
            raise ConnectionError("closed")
        return CompleteShipment(order_id=due.task_key, tracking_number="T1")

    handler = TaskHandler(BOOKING, book, retry=Retry(first_seconds=1000))
    async with serving(shop_settings, SHIPPING, (handler,)) as service:
        for order_id in ("o1", "o2"):
            await service.writer.handle(ready_to_ship(order_id))
        await eventually(lambda: len(tried) == 2)
        await eventually(lambda: have_failed(service))
        await service.writer.handle([recorded(NUDGED)])
        await eventually(lambda: is_published("ShipmentCompleted", service))
    assert tried == ["o1", "o2", "o1"]


def ready_to_ship(order_id: str) -> list[RecordedEvent]:
    return [
        recorded(replace(CREATED, order_id=order_id)),
        recorded(StockReserved(order_id=order_id, items=(LINE,))),
    ]


async def have_failed(service: Service) -> bool:
    return all(row["attempts"] for row in await rows_of(service.reads, TASK))


async def test_nudge_replaces_a_lost_booking(shop_settings: ShopSettings):
    async with serving(shop_settings, SHIPPING) as service:
        await service.writer.handle(ready_to_ship("o1"))
        before = await rows_of(service.reads, TASK)
        await lose_tasks(service)
        await service.writer.handle([recorded(NUDGED)])
        after = await rows_of(service.reads, TASK)
        assert [(task["kind"], task["payload"]) for task in after] == [
            (BOOKING, before[0]["payload"])
        ]
        await service.writer.handle([recorded(NUDGED)])
        assert await rows_of(service.reads, TASK) == after


async def test_completed_task_is_not_missing(shop_settings: ShopSettings):
    async with serving(shop_settings, SHIPPING) as service:
        await service.writer.handle(ready_to_ship("o1"))
        task = await service.reads.run(partial(task_queue.find, kind=BOOKING, task_key="o1"))
        delivered = CompleteShipment(order_id="o1", tracking_number="T1")
        await asyncio.gather(  # in one transaction
            service.writer.handle([recorded(NUDGED)]),
            service.writer.execute(CommandEnvelope(delivered, completes_task=task)),
        )
        assert await event_types(service) == ["ShipmentInitiated", "ShipmentCompleted"]
        assert await rows_of(service.reads, TASK) == []


async def lose_tasks(service: Service) -> None:
    await service.writer.run_in_transaction(lambda connection: connection.execute(delete(TASK)))


async def test_nudge_replaces_a_lost_deadline(shop_settings: ShopSettings):
    async with serving(shop_settings, ORDER, TASK_HANDLERS) as service:
        await service.writer.handle([recorded(LISTED)])
        await service.writer.execute(CommandEnvelope(ORDERED))
        await lose_tasks(service)
        await service.writer.execute(CommandEnvelope(NudgeOrder(order_id="o1")))
        [task] = await rows_of(service.reads, TASK)
    assert (task["kind"], task["task_key"]) == ("deadline", "o1")


async def test_nudge_moves_no_deadline(shop_settings: ShopSettings):
    async with serving(shop_settings, ORDER, TASK_HANDLERS) as service:
        await service.writer.handle([recorded(LISTED)])
        await service.writer.execute(CommandEnvelope(ORDERED))
        await eventually(lambda: is_published("OrderCreated", service))
        before = await rows_of(service.reads, TASK)
        await asyncio.gather(
            *(service.writer.execute(CommandEnvelope(NudgeOrder(order_id="o1"))) for _ in "12")
        )
        assert await eventually(lambda: resends(service)) == [1, 0, 0]
        assert await rows_of(service.reads, TASK) == before
