import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from order_service.handlers import TASK_HANDLERS as ORDER_TASKS
from order_service.handlers import pass_deadline, schedule_deadlines
from order_service.orders.domain import PlaceOrder, RequestCancellation, RequestedItem
from shared.chassis.engine import task_runner
from shared.chassis.engine.task_runner import MAX_AT_ONCE, Retry, TaskHandler
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.messages import clock
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime import service as service_module
from shared.chassis.runtime.service import Service
from shared.chassis.storage.task_queue import TASK, Task
from shared.contracts import (
    LineItem,
    OrderCreated,
    OrderItem,
    ProductCreated,
    StockReserved,
)
from shared.settings import ShopSettings
from shipping_service.carriers import Booking
from shipping_service.domain import CompleteShipment, FailShipment, ReportDelay
from shipping_service.handlers import BOOKING
from tests.support.chassis import ORDER, SHIPPING, log_of, pragma, rows_of, serving
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.shifted_clock import shifted

Run = Callable[[Task], Awaitable[Any]]


def created(order_id: str) -> RecordedEvent:
    return recorded(
        OrderCreated(
            order_id=order_id,
            user_id="user123",
            items=(OrderItem(product_id="p1", quantity=1, price=5000),),
            total_amount=5000,
            currency="JPY",
        )
    )


def reserved(order_id: str) -> RecordedEvent:
    line = LineItem(product_id="p1", quantity=1)
    return recorded(StockReserved(order_id=order_id, items=(line,)))


def booking(run: Run, attempts: int = 8) -> tuple[TaskHandler, ...]:
    """The booking task with a carrier of the test, and short pauses."""

    def give_up(due: Task, error: str) -> FailShipment:
        return FailShipment(order_id=due.task_key, reason=error)

    retry = Retry(attempts, first_seconds=0.02)
    return (TaskHandler(BOOKING, run, give_up, retry, actor=lambda _: "carrier:test"),)


async def begin_shipments(service: Service, *order_ids: str) -> None:
    for order_id in order_ids:
        await service.writer.handle([created(order_id), reserved(order_id)])


async def deliver(due: Task) -> CompleteShipment:
    return CompleteShipment(order_id=due.task_key, tracking_number="T1")


async def event_types(service: Service) -> list[str]:
    return [event.event_type for event in await log_of(service.reads, service.source)]


async def no_task_is_left(service: Service) -> bool:
    return not await rows_of(service.reads, TASK)


async def test_task_is_stored_and_deleted_with_events(shop_settings: ShopSettings):
    async with serving(shop_settings, SHIPPING, booking(deliver)) as service:
        await begin_shipments(service, "o1")
        await eventually(lambda: no_task_is_left(service))
        assert await event_types(service) == ["ShipmentInitiated", "ShipmentCompleted"]
        initiated, completed = await log_of(service.reads, "shipping")
        assert (completed.causation_id, completed.correlation_id) == (initiated.event_id, "o1")
        assert (initiated.actor, completed.actor) == (None, "carrier:test")


async def test_failed_task_is_retried_until_it_succeeds(shop_settings: ShopSettings):
    tried: list[Task] = []

    async def reluctant(due: Task) -> CompleteShipment:
        tried.append(due)
        if len(tried) < 4:
            raise ConnectionError("nobody answers")
        return await deliver(due)

    async with serving(shop_settings, SHIPPING, booking(reluctant)) as service:
        await begin_shipments(service, "o1")
        await eventually(lambda: no_task_is_left(service))
        assert await event_types(service) == ["ShipmentInitiated", "ShipmentCompleted"]
    assert [due.attempts for due in tried] == [0, 1, 2, 3]
    assert len({due.task_id for due in tried}) == 1
    waited = [(later.due_at - due.due_at).total_seconds() for due, later in pairwise(tried)]
    assert all(pause >= 0.01 * 2**number for number, pause in enumerate(waited))


async def test_every_third_failure_is_reported(shop_settings: ShopSettings):
    tried: list[Task] = []

    async def reluctant(due: Task) -> CompleteShipment:
        tried.append(due)
        if len(tried) <= 5:
            raise ConnectionError("nobody answers")
        return await deliver(due)

    def report(due: Task, failures: int) -> ReportDelay:
        return ReportDelay(order_id=due.task_key, attempts=failures)

    [handler] = booking(reluctant)
    async with serving(shop_settings, SHIPPING, (handler._replace(report=report),)) as service:
        await begin_shipments(service, "o1")
        await eventually(lambda: no_task_is_left(service))
        log = await log_of(service.reads, "shipping")
    assert [event.event_type for event in log] == [
        *("ShipmentInitiated", "BookingDelayed", "ShipmentCompleted")
    ]
    assert (log[1].event.attempts, log[1].correlation_id) == (3, "o1")
    assert log[1].actor == "service"


async def test_task_after_max_attempts_is_given_up(shop_settings: ShopSettings):
    tried: list[int] = []

    async def hopeless(due: Task) -> None:
        tried.append(due.attempts)
        raise ConnectionError("nobody answers")

    async with serving(shop_settings, SHIPPING, booking(hopeless, attempts=3)) as service:
        await begin_shipments(service, "o1")
        await eventually(lambda: no_task_is_left(service))
        failed = (await log_of(service.reads, "shipping"))[-1]
        assert failed.event.reason == "ConnectionError: nobody answers"
        assert failed.actor == "service"
    assert tried == [0, 1, 2]


async def test_failed_task_stores_its_last_error(shop_settings: ShopSettings):
    async def hopeless(_due: Task) -> None:
        raise ConnectionError("nobody answers")

    handlers = (TaskHandler(BOOKING, hopeless, retry=Retry(first_seconds=1000)),)
    async with serving(shop_settings, SHIPPING, handlers) as service:
        await begin_shipments(service, "o1")
        row = await eventually(lambda: _tried_once(service))
        assert row["last_error"] == "ConnectionError: nobody answers"


async def _tried_once(service: Service) -> dict[str, Any] | None:
    (row,) = await rows_of(service.reads, TASK)
    return row if row["attempts"] == 1 else None


async def test_task_in_flight_at_stop_runs_after_restart(
    shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service_module, "EFFECT_SECONDS", 0)
    started = asyncio.Event()

    async def endless(_due: Task) -> None:
        started.set()
        await asyncio.Event().wait()

    async with serving(shop_settings, SHIPPING, booking(endless)) as service:
        await begin_shipments(service, "o1")
        await started.wait()
    async with serving(shop_settings, SHIPPING, booking(deliver)) as service:
        await eventually(lambda: no_task_is_left(service))
        assert await event_types(service) == ["ShipmentInitiated", "ShipmentCompleted"]


async def test_failing_task_blocks_no_other(shop_settings: ShopSettings):
    async def choosy(due: Task) -> CompleteShipment:
        if due.task_key == "o1":
            raise ConnectionError("nobody answers")
        return await deliver(due)

    handlers = (TaskHandler(BOOKING, choosy, retry=Retry(first_seconds=1000)),)
    async with serving(shop_settings, SHIPPING, handlers) as service:
        await begin_shipments(service, "o1", "o2", "o3")
        await eventually(lambda: _are_left(service, "o1"))


async def _are_left(service: Service, *order_ids: str) -> bool:
    return [row["task_key"] for row in await rows_of(service.reads, TASK)] == list(order_ids)


async def test_concurrent_tasks_are_bounded(shop_settings: ShopSettings):
    running: set[str] = set()
    most = 0
    release = asyncio.Event()

    async def wait(due: Task) -> CompleteShipment:
        nonlocal most
        running.add(due.task_key)
        most = max(most, len(running))
        await release.wait()
        running.remove(due.task_key)
        return await deliver(due)

    async with serving(shop_settings, SHIPPING, booking(wait)) as service:
        await begin_shipments(service, *(f"o{number}" for number in range(MAX_AT_ONCE + 20)))
        await eventually(lambda: len(running) == MAX_AT_ONCE)
        release.set()
        await eventually(lambda: no_task_is_left(service))
    assert most == MAX_AT_ONCE


@pytest.fixture
def locker(shop_settings: ShopSettings) -> Iterator[sqlite3.Connection]:
    """Another process, which can lock shipping's database for writing."""
    path = shop_settings.data_dir / "shipping.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def lock(locker: sqlite3.Connection) -> None:
    if not locker.in_transaction:
        locker.execute("BEGIN IMMEDIATE")


async def test_unrecorded_effect_is_not_repeated(
    shop_settings: ShopSettings, locker: sqlite3.Connection
):
    tried: list[str] = []

    async def deliver_and_lock(due: Task) -> CompleteShipment:
        tried.append(due.task_key)
        lock(locker)
        return await deliver(due)

    order_ids = [f"o{number}" for number in range(MAX_AT_ONCE + 20)]
    async with serving(shop_settings, SHIPPING, booking(deliver_and_lock)) as service:
        await service.writer.run_in_transaction(pragma("busy_timeout=20"))
        pairs = [(created(order_id), reserved(order_id)) for order_id in order_ids]
        await service.writer.handle([event for pair in pairs for event in pair])
        await eventually(lambda: len(service.effects._unrecorded) == MAX_AT_ONCE)
        await asyncio.sleep(1.5)  # shows that no further attempt is made
        assert len(tried) == len(set(tried)) == MAX_AT_ONCE
        service.effects._handlers = {handler.kind: handler for handler in booking(deliver)}
        locker.execute("ROLLBACK")
        await eventually(lambda: no_task_is_left(service))
        assert (await event_types(service)).count("ShipmentCompleted") == len(order_ids)


async def test_unrecorded_failure_is_not_another_attempt(
    shop_settings: ShopSettings, locker: sqlite3.Connection
):
    tried: list[int] = []

    async def fail_and_lock(due: Task) -> None:
        tried.append(due.attempts)
        lock(locker)
        raise ConnectionError("Bo\udcee" * 1000)

    handlers = (TaskHandler(BOOKING, fail_and_lock, retry=Retry(first_seconds=1000)),)
    async with serving(shop_settings, SHIPPING, handlers) as service:
        await service.writer.run_in_transaction(pragma("busy_timeout=20"))
        await begin_shipments(service, "o1")
        await eventually(lambda: service.effects._unrecorded)
        await asyncio.sleep(1.5)  # shows that no further attempt is made
        locker.execute("ROLLBACK")
        row = await eventually(lambda: _tried_once(service))
        assert row["last_error"].startswith("ConnectionError: Bo?Bo?")
        assert len(row["last_error"]) == 500
    assert tried == [0]


async def test_stuck_outcome_does_not_repeat_its_effect(
    shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(task_runner, "STUCK", Retry(first_seconds=0.02, longest_seconds=0.1))
    tried: list[str] = []

    async def misreport(due: Task) -> CompleteShipment:
        tried.append(due.task_key)
        return CompleteShipment(order_id="never-started", tracking_number="T1")

    async with serving(shop_settings, SHIPPING, booking(misreport)) as service:
        await begin_shipments(service, "o1")
        row = await eventually(lambda: _stuck_thrice(service))
        assert (row["attempts"], row["last_error"][:11]) == (0, "LookupError")
    assert tried == ["o1"]


async def _stuck_thrice(service: Service) -> dict[str, Any] | None:
    (row,) = await rows_of(service.reads, TASK)
    return row if row["stuck"] >= 3 else None


async def insert_tasks(service: Service, kind: str, number: int) -> None:
    """Tasks as an older release would have written them."""
    long_ago = clock.now() - timedelta(days=1)
    rows = [
        {
            "kind": kind,
            "task_key": f"{kind}-{index}",
            "task_id": f"{kind}-{index}",
            "payload": {"format": "of another release"},
            "due_at": long_ago,
            "first_due_at": long_ago,
            "attempts": 0,
            "stuck": 0,
            "correlation_id": "o1",
        }
        for index in range(number)
    ]
    await service.writer.run_in_transaction(
        lambda connection: connection.execute(TASK.insert(), rows)
    )


async def test_foreign_tasks_do_not_block_others(shop_settings: ShopSettings):
    async def read_and_deliver(due: Task) -> CompleteShipment:
        msgspec.convert(due.payload, Booking)
        return await deliver(due)

    async with serving(shop_settings, SHIPPING, booking(read_and_deliver)) as service:
        await insert_tasks(service, "of_next_release", MAX_AT_ONCE + 1)
        await insert_tasks(service, BOOKING, MAX_AT_ONCE + 1)
        await begin_shipments(service, *(f"o{number}" for number in range(20)))
        await eventually(lambda: _have_completed(service, 20))
        stuck = {row["stuck"] for row in await rows_of(service.reads, TASK)}
    assert stuck == {0, 1}


async def _have_completed(service: Service, number: int) -> bool:
    return (await event_types(service)).count("ShipmentCompleted") == number


async def place_order(service: Service) -> None:
    product = ProductCreated(product_id="p1", name="K", description="", price=5)
    await service.writer.handle([recorded(product)])
    items = (RequestedItem(product_id="p1", quantity=1),)
    await service.writer.execute(
        CommandEnvelope(PlaceOrder(order_id="o1", user_id="guest", items=items, currency="JPY"))
    )


async def test_overtaken_task_does_nothing(shop_settings: ShopSettings):
    runs: list[tuple[Task, asyncio.Event]] = []

    async def wait(due: Task) -> RequestCancellation:
        released = asyncio.Event()
        runs.append((due, released))
        await released.wait()
        return await pass_deadline(due)

    at_once = ORDER._replace(logic=ORDER.logic._replace(schedule=schedule_deadlines(0)))
    async with serving(shop_settings, at_once, (TaskHandler("deadline", wait),)) as service:
        await place_order(service)
        await eventually(lambda: len(runs) == 1)
        await service.writer.handle([reserved("o1")])
        await eventually(lambda: len(runs) == 2)
        (overtaken, first), (current, second) = runs
        assert overtaken.task_id != current.task_id
        first.set()
        await eventually(lambda: len(service.effects._running) == 1)
        (row,) = await rows_of(service.reads, TASK)
        assert row["task_id"] == current.task_id
        assert await event_types(service) == ["OrderCreated", "OrderConfirmed"]
        second.set()


async def test_progress_in_same_batch_overtakes_a_task(shop_settings: ShopSettings):
    async with serving(shop_settings, ORDER) as service:
        await place_order(service)
        (row,) = await rows_of(service.reads, TASK)
        due = Task(**{name: row[name] for name in Task._fields})
        async with asyncio.TaskGroup() as batch:
            batch.create_task(service.writer.handle([reserved("o1")]))
            batch.create_task(
                service.writer.execute(
                    CommandEnvelope(await pass_deadline(due), completes_task=due)
                )
            )
        assert await event_types(service) == ["OrderCreated", "OrderConfirmed"]


async def test_order_without_progress_requests_its_cancellation(shop_settings: ShopSettings):
    soon = ORDER._replace(logic=ORDER.logic._replace(schedule=schedule_deadlines(0.2)))
    async with serving(shop_settings, soon, ORDER_TASKS) as service:
        await place_order(service)
        await eventually(lambda: _has_asked(service))


async def test_deadline_missed_during_downtime_is_met_later(shop_settings: ShopSettings):
    soon = ORDER._replace(logic=ORDER.logic._replace(schedule=schedule_deadlines(0.2)))
    async with serving(shop_settings, soon) as service:
        await place_order(service)
    async with serving(shop_settings, soon, ORDER_TASKS) as service:
        await eventually(lambda: _has_asked(service))


async def _has_asked(service: Service) -> bool:
    log = await log_of(service.reads, "order")
    asked = [entry for entry in log if entry.event_type == "OrderCancellationRequested"]
    assert all(entry.actor == "deadline" for entry in asked)
    return bool(asked) and all(entry.event.reason == "EXPIRED" for entry in asked)


async def test_tasks_run_after_steps_of_the_clock(
    shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch
):
    async with serving(shop_settings, SHIPPING, booking(deliver)) as service:
        for number, minutes in enumerate((-60, 0, -90, 60)):
            monkeypatch.setattr(clock, "now", shifted(60 * minutes))
            await begin_shipments(service, f"o{number}")
            await eventually(lambda: no_task_is_left(service))
        assert (await event_types(service)).count("ShipmentCompleted") == 4
