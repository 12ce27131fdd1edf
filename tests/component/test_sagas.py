"""The board of unfinished sagas, on a real database with the histories of the real rules."""

import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, event

from read_api.queries.sagas import Board, SagaFilter, SagaState
from read_api.saga_steps import Step
from read_api.schemas import SagaView
from shared.chassis.messages import clock
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.system_events import EventDeadLettered, EventRedriven
from shared.contracts import BookingDelayed, OrderCompleted
from shared.contracts.order import OrderStatus
from shared.settings import ShopSettings
from tests.support.in_memory_shop import InMemoryShop, ShopService
from tests.support.read_api_process import Projection, projecting

PRODUCT = "prod001"
SETTINGS = ShopSettings(order_timeout_seconds=900, order_timeout_pending_seconds=60)
EVERYTHING = SagaFilter()


@pytest.fixture
async def projection(tmp_path: Path) -> AsyncIterator[Projection]:
    async with projecting(tmp_path / "read.db") as running:
        yield running


@pytest.fixture
def shop() -> InMemoryShop:
    return InMemoryShop({PRODUCT: 1000})


def place(shop: InMemoryShop, *order_ids: str) -> None:
    for order_id in order_ids:
        shop.place(order_id, [(PRODUCT, 1)])


def deliver_to(shop: InMemoryShop, service: ShopService) -> None:
    while service.pending:
        shop.deliver(service, 0)


def publish(service: ShopService, *events: Event) -> None:
    """Append what the rules in memory do not: the chassis, or a task that failed."""
    for published in events:
        service.log.append(
            RecordedEvent(
                event_id=clock.new_id(),
                source=service.source,
                position=len(service.log) + 1,
                event=published,
                recorded_at=clock.now(),
                correlation_id=published.entity_id,
            )
        )


async def project(projection: Projection, shop: InMemoryShop, *old: str) -> None:
    """Apply the logs; the events of the `old` orders as if they had been recorded an hour ago."""
    hour = timedelta(hours=1)
    for service in shop.services:
        await projection.projector.deliver(
            [
                replace(recorded, recorded_at=recorded.recorded_at - hour)
                if recorded.entity_id in old
                else recorded
                for recorded in service.log
            ]
        )


async def board(
    projection: Projection, state: SagaState | None = None, order_id: str | None = None
) -> list[SagaView]:
    page = await Board(projection.reader, SETTINGS).sagas(SagaFilter(state, order_id), None, 50)
    return list(page.items)


def ids(views: Iterable[SagaView]) -> list[str]:
    return [view.order_id for view in views]


async def test_open_order_shows_what_it_waits_for(projection: Projection, shop: InMemoryShop):
    place(shop, "o1")
    deliver_to(shop, shop.inventory)
    await project(projection, shop)
    [saga] = await board(projection)
    assert (saga.order_id, saga.status) == ("o1", OrderStatus.PENDING)
    assert [step.type for step in saga.steps] == ["OrderCreated", "StockReserved"]
    assert saga.next
    assert (saga.next.step, saga.next.service) == (Step.INITIATE_SHIPMENT, "shipping")
    assert (saga.next.awaits, saga.next.since) == (
        ("ShipmentInitiated",),
        saga.steps[-1].recorded_at,
    )
    assert [step.step for step in saga.remaining] == [
        *(Step.INITIATE_SHIPMENT, Step.BOOK_CARRIER, Step.DELIVER),
        *(Step.COMPLETE_ORDER, Step.DEDUCT_STOCK),
    ]
    assert saga.deadline_at == saga.steps[0].recorded_at + timedelta(seconds=60)
    assert (saga.stuck, saga.retrying, saga.parked) == (False, False, [])


async def test_ended_order_stays_until_its_stock_is_settled(
    projection: Projection, shop: InMemoryShop
):
    place(shop, "o1", "o2")
    shop.deliver_all()
    for order_id in ("o1", "o2"):
        shop.answer_booking(order_id, delivered=True)
    deliver_to(shop, shop.order)
    await project(projection, shop)
    sagas = await board(projection)
    assert ids(sagas) == ["o1", "o2"]
    assert [(saga.next.step, saga.deadline_at) for saga in sagas if saga.next] == [
        (Step.DEDUCT_STOCK, None),
        (Step.DEDUCT_STOCK, None),
    ]
    shop.deliver_all()
    await project(projection, shop)
    assert await board(projection) == []


async def test_saga_without_progress_is_stuck(projection: Projection, shop: InMemoryShop):
    place(shop, "o1", "o2")
    await project(projection, shop, "o1")
    assert ids(await board(projection)) == ["o1", "o2"]
    [stuck] = await board(projection, SagaState.STUCK)
    assert (stuck.order_id, stuck.stuck) == ("o1", True)
    assert stuck.next
    assert 3600 <= stuck.next.waited_seconds < 3700


async def test_carrier_may_take_its_usual_time(projection: Projection, shop: InMemoryShop):
    """An hour is much for a booking that usually takes a moment, and little if carriers take a day."""
    place(shop, "o1", "o2")
    shop.deliver_all()
    await project(projection, shop, "o1", "o2")
    assert ids(await board(projection, SagaState.STUCK)) == ["o1", "o2"], "longer than the timeout"
    shop.answer_booking("o2", delivered=True)
    shop.deliver_all()
    await project(projection, shop)  # o2 was delivered an hour after its shipment was initiated
    assert await board(projection, SagaState.STUCK) == []


async def test_booking_without_answer_is_retrying(projection: Projection, shop: InMemoryShop):
    place(shop, "o1", "o2", "o3")
    shop.deliver_all()
    for order_id in ("o1", "o2"):
        shipment_id = shop.shipping.state.shipments[order_id].shipment_id or ""
        delayed = BookingDelayed(shipment_id=shipment_id, order_id=order_id, attempts=3)
        publish(shop.shipping, delayed)
    shop.confirm_booking("o2")
    await project(projection, shop)
    [retrying] = await board(projection, SagaState.RETRYING)
    assert (retrying.order_id, retrying.retrying, retrying.booking_attempts) == ("o1", True, 3)


async def test_dead_letter_parks_a_saga_until_redriven(projection: Projection, shop: InMemoryShop):
    place(shop, "o1", "o2")
    letter = EventDeadLettered(event_id="e1", event_type="OrderCreated", key="o1", error="KeyError")
    publish(shop.inventory, letter, replace(letter, event_id="e2"))
    publish(shop.shipping, letter)
    await project(projection, shop)
    [saga] = await board(projection, SagaState.PARKED)
    parked = [(parked.service, parked.event_id, parked.error) for parked in saga.parked]
    assert (saga.order_id, parked) == (
        "o1",
        [
            ("inventory", "e1", "KeyError"),
            ("inventory", "e2", "KeyError"),
            ("shipping", "e1", "KeyError"),
        ],
    )
    redriven = EventRedriven(event_id="e1", event_type="OrderCreated", key="o1")
    publish(shop.inventory, redriven, replace(redriven, event_id="e2"))
    publish(shop.shipping, redriven)
    await project(projection, shop)
    assert await board(projection, SagaState.PARKED) == []


async def test_dead_letter_of_read_api_parks_too(projection: Projection, shop: InMemoryShop):
    place(shop, "o1")
    deliver_to(shop, shop.inventory)
    publish(shop.shipping, BookingDelayed(shipment_id="s1", order_id="o1", attempts=3))
    await project(projection, shop)
    [saga] = await board(projection, SagaState.PARKED)
    assert [(parked.service, parked.event_type) for parked in saga.parked] == [
        ("read", "BookingDelayed")
    ]


async def test_shipped_order_is_due_by_delivery_deadline(
    projection: Projection, shop: InMemoryShop
):
    place(shop, "o1", "o2")
    shop.deliver_all()
    shop.confirm_booking("o1")
    shop.deliver_all()
    await project(projection, shop)
    [saga, _] = await board(projection)
    shipped = next(step for step in saga.steps if step.type == "OrderShipped")
    assert (saga.status, saga.overdue) == (OrderStatus.SHIPPED, False)
    assert saga.deadline_at == shipped.recorded_at + timedelta(days=7)
    assert [step.step for step in saga.remaining][:2] == [Step.DELIVER, Step.COMPLETE_ORDER]
    assert await board(projection, SagaState.OVERDUE) == []


async def test_overdue_delivery_is_found_on_board(projection: Projection, shop: InMemoryShop):
    place(shop, "o1", "o2")
    shop.deliver_all()
    shop.confirm_booking("o1")
    shop.deliver_all()
    shop.pass_deadlines()
    shop.deliver_all()
    await project(projection, shop)
    [saga] = await board(projection, SagaState.OVERDUE)
    assert (saga.order_id, saga.overdue, saga.deadline_at) == ("o1", True, None)
    shop.settle("o1", "lost")
    shop.deliver_all()
    await project(projection, shop)
    assert await board(projection, order_id="o1") == []


async def test_pages_contain_each_saga_once(projection: Projection, shop: InMemoryShop):
    place(shop, "o1", "o2", "o3", "o4", "o5")
    shop.deliver_all()
    await project(projection, shop)
    order_ids, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = await Board(projection.reader, SETTINGS).sagas(EVERYTHING, cursor, 2)
        order_ids += ids(page.items)
        cursor, pages = page.next_cursor, pages + 1
    assert (order_ids, pages) == (["o1", "o2", "o3", "o4", "o5"], 3)
    assert ids(await board(projection, order_id="o3")) == ["o3"]


async def test_remaining_steps_show_recent_times(projection: Projection, shop: InMemoryShop):
    order_ids = [f"o{number}" for number in range(10, 30)]
    place(shop, *order_ids, "o9")
    shop.deliver_all()
    for order_id in order_ids:
        shop.answer_booking(order_id, delivered=True)
    shop.deliver_all()
    slow = dict(zip(order_ids, range(1, 21), strict=True))
    log = shop.order.log
    for index, recorded in enumerate(log):
        if isinstance(recorded.event, OrderCompleted):
            later = timedelta(seconds=slow[recorded.entity_id])
            log[index] = replace(recorded, recorded_at=recorded.recorded_at + later)
    await project(projection, shop)
    [saga] = await board(projection)
    [complete] = [step for step in saga.remaining if step.step is Step.COMPLETE_ORDER]
    assert complete.p50_seconds == pytest.approx(11, abs=1)
    assert complete.p90_seconds == pytest.approx(18, abs=1)


async def test_recent_times_are_kept_for_a_while(projection: Projection, shop: InMemoryShop):
    place(shop, "o1", "o2")
    await project(projection, shop)
    same_board = Board(projection.reader, SETTINGS)
    await same_board.sagas(EVERYTHING, None, 50)
    shop.deliver_all()
    shop.confirm_booking("o1")
    shop.answer_booking("o1", delivered=True)
    shop.deliver_all()
    await project(projection, shop)
    [before] = (await same_board.sagas(EVERYTHING, None, 50)).items
    [after] = await board(projection)
    assert {step.p50_seconds for step in before.remaining} == {None}
    assert None not in {step.p50_seconds for step in after.remaining}


@pytest.mark.parametrize("state", [None, *SagaState])
async def test_board_scans_no_table_of_ended_orders(
    projection: Projection, tmp_path: Path, state: SagaState | None
):
    executed: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection, _cursor, statement, parameters, *_: object) -> None:
        executed.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await board(projection, state)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(executed) >= 5
    with closing(sqlite3.connect(tmp_path / "read.db")) as connection:
        plans = [
            row[-1]
            for statement, parameters in executed
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    large = ("orders", "shipments", "events", "reservations")
    scans = [line for line in plans if line.startswith(tuple(f"SCAN {name}" for name in large))]
    bounded = ("reservations_reserved", "orders_paid")
    assert [line for line in scans if not line.endswith(bounded)] == []
