"""A deadline acts only after the service has had the chance to receive progress."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

import shared.chassis.runtime.service
from order_service.handlers import TASK_HANDLERS, schedule_deadlines
from order_service.orders.domain import PlaceOrder, RequestedItem
from order_service.orders.price_store import LIST_PRICES
from order_service.orders.store import ORDERS
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.messages import clock
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime.service import Service
from shared.chassis.storage.task_queue import TASK
from shared.contracts import (
    CATALOG,
    LineItem,
    ProductCreated,
    ProductUpdated,
    ShipmentCompleted,
    StockReserved,
)
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import ORDER, log_of, publishing, rows_of, serving
from tests.support.eventually import eventually
from tests.support.history import recorded

SOON = ORDER._replace(logic=ORDER.logic._replace(schedule=schedule_deadlines(0.3)))
ORDER_IDS = [f"o{number}" for number in range(10)]
LONG_GRACE_SECONDS = 60
PRODUCT = ProductCreated(product_id="p1", name="Keyboard", description="", price=5)


async def sell(service: Service) -> None:
    await service.writer.handle([recorded(PRODUCT)])


async def place_orders(service: Service, *order_ids: str) -> None:
    items = (RequestedItem(product_id="p1", quantity=1),)
    for order_id in order_ids:
        placed = PlaceOrder(order_id=order_id, user_id="guest", items=items, currency="JPY")
        await service.writer.execute(CommandEnvelope(placed))


def progress_of(order_ids: Sequence[str]) -> list[RecordedEvent]:
    """What inventory and shipping publish about these orders."""
    lines = (LineItem(product_id="p1", quantity=1),)
    reserved = [StockReserved(order_id=order_id, items=lines) for order_id in order_ids]
    completed = [
        ShipmentCompleted(shipment_id=f"s-{order_id}", order_id=order_id, tracking_number="T1")
        for order_id in order_ids
    ]
    return [recorded(event) for event in (*reserved, *completed)]


async def send(broker: JetStreamConnection, events: list[RecordedEvent]) -> None:
    while events:
        taken = await broker.publish(events)
        events = [event for event in events if event.position not in taken]
        await asyncio.sleep(0.05 if events else 0)


async def are_overdue(service: Service) -> bool:
    rows = await rows_of(service.reads, TASK)
    return bool(rows) and all(row["due_at"] < clock.now() for row in rows)


async def have_completed(service: Service) -> bool:
    rows = await rows_of(service.reads, ORDERS)
    return {row["status"] for row in rows} == {"COMPLETED"}


async def requests(service: Service) -> int:
    """How many cancellations were requested."""
    log = await log_of(service.reads, "order")
    return [event.event_type for event in log].count("OrderCancellationRequested")


async def test_broker_outage_expires_no_order(shop_settings: ShopSettings, broker: NatsServer):
    settings = replace(shop_settings, order_timeout_grace_seconds=LONG_GRACE_SECONDS)
    async with publishing(settings) as others, serving(settings, SOON, TASK_HANDLERS) as service:
        await sell(service)
        await eventually(lambda: service.waiting_for() == [])
        broker.kill()
        await place_orders(service, *ORDER_IDS)
        await eventually(lambda: are_overdue(service))
        await eventually(lambda: service.deadlines.held_back_since)
        assert await requests(service) == 0
        broker.restart()
        await eventually(lambda: service.waiting_for() == [])
        await asyncio.sleep(1.5)  # shows that no order expires before the others can publish
        assert await requests(service) == 0
        await send(others, progress_of(ORDER_IDS))
        await eventually(lambda: have_completed(service))
        assert await requests(service) == 0


async def test_full_stream_expires_no_order(shop_settings: ShopSettings):
    settings = replace(shop_settings, stream_max_bytes=5000)
    async with publishing(settings) as others, serving(settings, SOON, TASK_HANDLERS) as service:
        await eventually(lambda: service.waiting_for() == [])
        while await others.publish([recorded(PRODUCT)]):
            pass
        await eventually(lambda: is_for_sale(service))
        await place_orders(service, "o1")
        await eventually(lambda: are_overdue(service))
        await eventually(lambda: service.deadlines.held_back_since)
        assert await requests(service) == 0


async def is_for_sale(service: Service) -> bool:
    return bool(await rows_of(service.reads, LIST_PRICES))


async def test_own_outage_expires_no_order(shop_settings: ShopSettings):
    async with serving(shop_settings, SOON) as service:
        await sell(service)
        await place_orders(service, *ORDER_IDS)
        await eventually(lambda: are_overdue(service))
    async with publishing(shop_settings) as others:
        await send(others, progress_of(ORDER_IDS))
    async with serving(shop_settings, SOON, TASK_HANDLERS) as service:
        await eventually(lambda: have_completed(service))
        assert await requests(service) == 0


async def test_deadline_without_progress_is_met_after_outage(
    shop_settings: ShopSettings, broker: NatsServer
):
    settings = replace(shop_settings, order_timeout_grace_seconds=0.3)
    async with serving(settings, SOON, TASK_HANDLERS) as service:
        await sell(service)
        await eventually(lambda: service.waiting_for() == [])
        broker.kill()
        await place_orders(service, "o1")
        await eventually(lambda: are_overdue(service))
        broker.restart()
        await eventually(lambda: requests(service))


class Slow(Service):
    """A service that handles events slowly, or not at all while `may_handle` is clear."""

    def __init__(self, settings: ShopSettings) -> None:
        super().__init__(
            "order",
            settings,
            SOON.logic,
            SOON.tables,
            TASK_HANDLERS,
            catalog=CATALOG,
            derived=SOON.derived,
            deadline_grace_seconds=settings.order_timeout_grace_seconds,
        )
        self.may_handle = asyncio.Event()
        self._handle = self.writer.handle
        self.writer.handle = self._handle_slowly  # type: ignore[method-assign]

    async def _handle_slowly(self, messages: Sequence[Any]) -> None:
        await self.may_handle.wait()
        await asyncio.sleep(0.2)
        await self._handle(messages)


@asynccontextmanager
async def serving_slowly(settings: ShopSettings) -> AsyncIterator[Slow]:
    service = Slow(settings)
    service.may_handle.set()
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def test_constant_load_does_not_disable_deadlines(shop_settings: ShopSettings):
    async def load(broker: JetStreamConnection) -> None:
        while True:
            update = ProductUpdated(product_id="p1", name="Keyboard", description="", price=5)
            await broker.publish([recorded(update)])
            await asyncio.sleep(0.02)

    async with publishing(shop_settings) as others, serving_slowly(shop_settings) as service:
        await sell(service)
        loading = asyncio.create_task(load(others))
        await place_orders(service, "o1")
        await eventually(lambda: requests(service))
        loading.cancel()


async def test_service_that_falls_behind_is_not_ready(
    shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shared.chassis.runtime.service, "LATE_SECONDS", 0.5)
    async with publishing(shop_settings) as others, serving_slowly(shop_settings) as service:
        await sell(service)
        service.may_handle.clear()
        await send(others, progress_of(["o1"]))
        await place_orders(service, "o1")
        behind = "2 events that are not handled yet, before its overdue deadlines"
        await eventually(lambda: service.waiting_for() == [behind])
        assert await requests(service) == 0
        service.may_handle.set()
        await eventually(lambda: have_completed(service))
        await eventually(lambda: service.waiting_for() == [])
        assert await requests(service) == 0
