import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from inventory_service.domain import (
    ChangeStock,
    CreateProduct,
    DeductStock,
    Description,
    ReserveStock,
)
from inventory_service.store import PRODUCTS, RESERVATIONS
from order_service.orders.domain import PlaceOrder
from order_service.orders.pricing import RequestedItem
from shared.chassis.engine.unit_of_work import CommandEnvelope, Outcome
from shared.chassis.engine.writer import MAX_AT_ONCE, MAX_WAITING, MIN_REQUESTS, StorageUnavailable
from shared.chassis.messages import clock
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.database import BUSY_MILLISECONDS, CHASSIS_METADATA
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.chassis.storage.event_log import EVENT_LOG
from shared.chassis.storage.idempotency import IdempotencyKey, Reply
from shared.chassis.storage.inbox import INBOX
from shared.chassis.storage.task_queue import Task
from shared.contracts import (
    LineItem,
    OrderCancellationRequested,
    OrderCreated,
    OrderItem,
    ProductCreated,
    ShipmentCompleted,
    ShipmentFailed,
)
from tests.support.chassis import INVENTORY, ORDER, SHIPPING, Chassis, pragma, writing
from tests.support.eventually import eventually
from tests.support.history import recorded


@pytest.fixture
async def chassis(tmp_path: Path):
    async with writing(tmp_path / "inventory.db") as running:
        yield running


def create(product_id: str, stock: int = 10) -> CreateProduct:
    described = Description(name="Super Keyboard", description="", price=5000)
    return CreateProduct(product_id=product_id, description=described, stock=stock)


def ordered(order_id: str, product_id: str, quantity: int) -> OrderCreated:
    return OrderCreated(
        order_id=order_id,
        user_id="user123",
        items=(OrderItem(product_id=product_id, quantity=quantity, price=5000),),
        total_amount=5000 * quantity,
        currency="JPY",
    )


async def stock_of(chassis: Chassis, product_id: str) -> tuple[int, int]:
    """On hand, reserved."""
    (row,) = [row for row in await chassis.rows(PRODUCTS) if row["product_id"] == product_id]
    return row["on_hand"], row["reserved"]


async def nothing_has_happened(chassis: Chassis) -> bool:
    tables = (PRODUCTS, RESERVATIONS, EVENT_LOG, INBOX, DEAD_LETTER)
    return not any([await chassis.rows(table) for table in tables])


async def test_concurrent_commands_share_a_transaction(chassis: Chassis):
    await asyncio.gather(*(chassis.execute(create(f"p{number}")) for number in range(200)))
    transactions = {entry.recorded_at for entry in await chassis.log()}
    assert len(transactions) <= 2
    assert len(await chassis.rows(PRODUCTS)) == 200


async def test_positions_and_entity_versions_are_contiguous(chassis: Chassis):
    for product_id in ("p1", "p2"):
        await chassis.execute(create(product_id))
    await asyncio.gather(
        *(
            chassis.execute(ChangeStock(product_id=f"p{1 + number % 2}", quantity=1))
            for number in range(50)
        )
    )
    rows = await chassis.rows(EVENT_LOG)
    assert [row["position"] for row in rows] == list(range(1, 55))
    for product_id in ("p1", "p2"):
        versions = [row["version"] for row in rows if row["entity_id"] == product_id]
        assert versions == list(range(1, 28))


async def test_rejected_command_does_not_affect_its_batch(chassis: Chassis):
    first, again, other = await asyncio.gather(
        chassis.execute(create("p1")),
        chassis.execute(create("p1")),
        chassis.execute(create("p2")),
        return_exceptions=True,
    )
    assert isinstance(again, Rejected)
    assert (first.position, other.position) == (4, 4)
    assert await chassis.event_types() == ["ProductCreated", "StockAdded"] * 2


async def test_failing_rule_does_not_affect_its_batch(chassis: Chassis):
    await chassis.execute(create("p1"))
    handled, faulty, executed = await asyncio.gather(
        chassis.handle(recorded(ordered("o1", "p1", 2))),
        chassis.execute(DeductStock(order_id="never-reserved")),
        chassis.execute(create("p2")),
        return_exceptions=True,
    )
    assert handled is None
    assert isinstance(faulty, KeyError)
    assert executed.position == 5
    assert await stock_of(chassis, "p1") == (10, 2)


async def test_answer_shows_state_after_its_command(chassis: Chassis):
    def on_hand(stock) -> Reply:
        return Reply(status=200, body=str(stock.products["p1"].on_hand).encode())

    await chassis.execute(create("p1", stock=0))
    answers = await asyncio.gather(
        *(
            chassis.writer.execute(
                CommandEnvelope(ChangeStock(product_id="p1", quantity=1), on_hand)
            )
            for _ in range(5)
        )
    )
    assert [int(answer.reply.body) for answer in answers] == [1, 2, 3, 4, 5]


async def test_failed_commit_leaves_nothing_behind(chassis: Chassis):
    await chassis.writer.run_in_transaction(pragma("max_page_count=1"))  # the disk is full
    outcomes = await asyncio.gather(
        *(chassis.execute(create(f"p{number}")) for number in range(300)),
        chassis.handle(*(recorded(ordered(f"o{number}", "p1", 1)) for number in range(300))),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {StorageUnavailable}
    assert chassis.announced == []
    assert await nothing_has_happened(chassis)


async def test_event_can_be_handled_after_failed_commit(chassis: Chassis):
    orders = [recorded(ordered(f"o{number}", "p1", 1)) for number in range(300)]
    await chassis.writer.run_in_transaction(pragma("max_page_count=1"))
    with pytest.raises(StorageUnavailable):
        await chassis.handle(*orders)
    await chassis.writer.run_in_transaction(pragma("max_page_count=1000000"))
    await chassis.handle(*orders)
    assert await chassis.event_types() == ["StockReservationFailed"] * 300


async def test_locked_database_is_unavailable_after_timeout(chassis: Chassis, tmp_path: Path):
    await chassis.writer.run_in_transaction(pragma("busy_timeout=50"))
    other = sqlite3.connect(tmp_path / "inventory.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"):
        await chassis.execute(create("p1"))
    other.execute("ROLLBACK")
    other.close()
    await chassis.execute(create("p1"))
    assert await stock_of(chassis, "p1") == (10, 0)


async def test_two_writers_on_one_database_lose_nothing(tmp_path: Path):
    path = tmp_path / "inventory.db"
    async with writing(path) as one, writing(path) as other:
        await one.execute(create("p1", stock=0))
        await asyncio.gather(
            *(
                (one, other)[number % 2].execute(ChangeStock(product_id="p1", quantity=1))
                for number in range(100)
            )
        )
        assert await stock_of(one, "p1") == (100, 0)
        positions = [row["position"] for row in await one.rows(EVENT_LOG)]
    assert positions == list(range(1, 102))


async def test_stopping_writer_completes_queued_commands(tmp_path: Path):
    async with writing(tmp_path / "inventory.db") as chassis:
        waiting = [asyncio.create_task(chassis.execute(create(f"p{n}"))) for n in range(20)]
        await asyncio.sleep(0)
    assert [(await command).position for command in waiting] == [40] * 20
    with pytest.raises(StorageUnavailable):
        await chassis.execute(create("late"))


async def test_stopping_database_waits_only_briefly_for_lock(chassis: Chassis, tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "inventory.db", isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        chassis.database.begin_stop()
        async with asyncio.timeout(BUSY_MILLISECONDS / 1000 / 2):
            with pytest.raises(StorageUnavailable, match="locked"):
                await chassis.execute(create("p1"))
    await chassis.execute(create("p1"))


async def test_cancelled_caller_does_not_affect_others(chassis: Chassis):
    poison = recorded(ShipmentCompleted(shipment_id="s1", order_id="o1", tracking_number="T1"))
    impatient = [
        asyncio.create_task(chassis.execute(create("p1"))),
        asyncio.create_task(chassis.execute(DeductStock(order_id="never-reserved"))),
        asyncio.create_task(chassis.handle(poison, recorded(ordered("o2", "p9", 1)))),
    ]
    await asyncio.sleep(0)
    for caller in impatient:
        caller.cancel()
    await chassis.execute(create("p2"))
    assert [row["product_id"] for row in await chassis.rows(PRODUCTS)] == ["p2"]
    assert await chassis.rows(INBOX) == []


async def test_caller_of_committed_command_gets_no_error(tmp_path: Path):
    def fail_to_wake(_: Outcome) -> None:
        raise BrokenPipeError

    chassis = Chassis(tmp_path / "inventory.db", INVENTORY, fail_to_wake)
    await chassis.database.run(CHASSIS_METADATA.create_all)
    await chassis.database.run(INVENTORY.tables.create_all)
    running = asyncio.create_task(chassis.writer.run())
    caller = asyncio.create_task(chassis.execute(create("p1")))
    done, _ = await asyncio.wait([running, caller], return_when=asyncio.FIRST_COMPLETED)
    assert done == {running}
    assert isinstance(running.exception(), BrokenPipeError)
    assert len(await chassis.rows(PRODUCTS)) == 1
    caller.cancel()
    await chassis.reads.close()
    await chassis.database.close()


async def test_redelivered_event_changes_nothing(chassis: Chassis):
    await chassis.execute(create("p1"))
    order = recorded(ordered("o1", "p1", 2))
    await chassis.handle(order)
    await chassis.handle(order)
    assert await stock_of(chassis, "p1") == (10, 2)
    assert await chassis.event_types() == ["ProductCreated", "StockAdded", "StockReserved"]


async def test_event_twice_in_one_batch_is_handled_once(chassis: Chassis):
    await chassis.execute(create("p1"))
    order = recorded(ordered("o1", "p1", 2))
    await asyncio.gather(chassis.handle(order, order), chassis.handle(order))
    assert await stock_of(chassis, "p1") == (10, 2)
    assert len(await chassis.rows(INBOX)) == 1


async def test_redelivered_event_is_recognized_after_restart(tmp_path: Path):
    order = recorded(ordered("o1", "p1", 2))
    for _ in range(2):
        async with writing(tmp_path / "inventory.db") as chassis:
            await chassis.handle(order)
            assert await chassis.event_types() == ["StockReservationFailed"]


async def test_repeated_request_is_answered_but_redelivery_is_not(
    tmp_path: Path,
):
    first, again = (
        recorded(OrderCancellationRequested(order_id="o1", reason="EXPIRED")) for _ in range(2)
    )
    async with writing(tmp_path / "shipping.db", SHIPPING) as chassis:
        for request in (first, again, first, again):
            await chassis.handle(request)
        assert await chassis.event_types() == ["ShipmentCancelled", "ShipmentCancelled"]


async def test_redelivered_order_reserves_once(chassis: Chassis):
    await chassis.execute(create("p1"))
    await chassis.handle(recorded(ordered("o1", "p1", 2)), recorded(ordered("o1", "p1", 2)))
    assert await stock_of(chassis, "p1") == (10, 2)


async def test_repeated_shipment_failure_releases_once(chassis: Chassis):
    await chassis.execute(create("p1"))
    failure = ShipmentFailed(shipment_id="s1", order_id="o1", reason="x", items=())
    other = recorded(ordered("o2", "p1", 3))
    await chassis.handle(recorded(ordered("o1", "p1", 2)), other)
    await chassis.handle(recorded(failure), recorded(failure))
    await chassis.handle(recorded(failure))
    assert await stock_of(chassis, "p1") == (10, 3)
    assert (await chassis.event_types()).count("StockReleased") == 1


async def test_event_names_its_cause(chassis: Chassis):
    order = recorded(ordered("o1", "p1", 2))
    await chassis.handle(order)
    (refused,) = await chassis.log()
    assert (refused.causation_id, refused.correlation_id) == (order.event_id, "o1")


async def test_batch_reads_its_own_decisions(chassis: Chassis):
    await asyncio.gather(
        chassis.execute(create("p1", stock=3)),
        chassis.execute(
            ReserveStock(order_id="o1", items=(LineItem(product_id="p1", quantity=2),))
        ),
        chassis.execute(
            ReserveStock(order_id="o2", items=(LineItem(product_id="p1", quantity=2),))
        ),
    )
    assert (await chassis.event_types())[2:] == ["StockReserved", "StockReservationFailed"]


def claimed(key: str, command: object, content: str = "one") -> CommandEnvelope:
    claim = IdempotencyKey(name=f"somebody\n{key}", fingerprint=content)
    return CommandEnvelope(
        command, lambda _: Reply(status=201, body=b"made", location="/it"), claim
    )


async def test_repeated_key_replays_the_stored_response(
    chassis: Chassis,
):
    first = await chassis.writer.execute(claimed("k1", create("p1")))
    again = await chassis.writer.execute(claimed("k1", create("p2")))
    assert not first.reply.replayed
    assert again.reply.replayed
    assert (again.reply.status, again.reply.body, again.reply.location) == (201, b"made", "/it")
    assert len(await chassis.rows(PRODUCTS)) == 1


async def test_repeated_key_in_one_batch_executes_once(chassis: Chassis):
    answers = await asyncio.gather(
        *(chassis.writer.execute(claimed("k1", create(f"p{number}"))) for number in range(3))
    )
    assert [answer.reply.replayed for answer in answers] == [False, True, True]
    assert len(await chassis.rows(PRODUCTS)) == 1


async def test_key_reused_for_another_request_is_rejected(chassis: Chassis):
    await chassis.writer.execute(claimed("k1", create("p1")))
    with pytest.raises(Rejected) as caught:
        await chassis.writer.execute(claimed("k1", create("p2"), content="two"))
    assert caught.value.code == "idempotency-key-reused"
    assert len(await chassis.rows(PRODUCTS)) == 1


async def test_stored_response_survives_a_restart(tmp_path: Path):
    for replayed in (False, True):
        async with writing(tmp_path / "inventory.db") as chassis:
            answer = await chassis.writer.execute(claimed("k1", create("p1")))
            assert answer.reply.replayed is replayed


async def test_key_of_rejected_command_is_free_again(chassis: Chassis):
    await chassis.execute(create("p1"))
    with pytest.raises(Rejected):
        await chassis.writer.execute(claimed("k1", create("p1")))
    answer = await chassis.writer.execute(claimed("k1", create("p2"), content="two"))
    assert not answer.reply.replayed


def product(number: int, name: str) -> RecordedEvent:
    event = ProductCreated(product_id=f"p{number}", name=name, description="", price=1)
    return recorded(event, position=number + 1)


def place(order_id: str, lines: int) -> PlaceOrder:
    items = tuple(RequestedItem(product_id=f"p{number}", quantity=1) for number in range(lines))
    return PlaceOrder(order_id=order_id, user_id="user123", items=items, currency="JPY")


async def test_event_too_large_to_publish_is_rejected(tmp_path: Path):
    async with writing(tmp_path / "order.db", ORDER) as chassis:
        await chassis.handle(*(product(number, "𝄞" * 200) for number in range(100)))
        too_large, other = await asyncio.gather(
            chassis.execute(place("o1", lines=100)),
            chassis.execute(place("o2", lines=10)),
            return_exceptions=True,
        )
        assert isinstance(too_large, Rejected)
        assert too_large.code == "event-too-large"
        assert other.position == 1
        assert [entry.entity_id for entry in await chassis.log()] == ["o2"]
        assert len(await chassis.rows(EVENT_LOG)) == 1


@pytest.mark.parametrize(
    ("length", "error"), [(70_000, "EventTooLarge: OrderFailed"), (501, "DecodeError: ")]
)
async def test_unpublishable_event_makes_its_cause_dead_letter(
    tmp_path: Path, length: int, error: str
):
    async with writing(tmp_path / "order.db", ORDER) as chassis:
        await chassis.handle(product(0, "Keyboard"))
        await asyncio.gather(chassis.execute(place("o1", 1)), chassis.execute(place("o2", 1)))
        long, fine = (
            ShipmentFailed(shipment_id="s1", order_id=order_id, reason="x" * size, items=())
            for order_id, size in (("o1", length), ("o2", 1))
        )
        await chassis.handle(recorded(long), recorded(fine))
        (letter,) = await chassis.rows(DEAD_LETTER)
        assert (letter["entity_id"], letter["status"]) == ("o1", "PARKED")
        assert letter["error"].startswith(error)
        assert (await chassis.event_types())[2:] == ["EventDeadLettered", "OrderFailed"]


def forbid_reservations_of(order_id: str) -> str:
    return f"""
        CREATE TRIGGER forbidden BEFORE INSERT ON reservations WHEN NEW.order_id = '{order_id}'
        BEGIN SELECT RAISE(ABORT, 'a row that the database does not take'); END
    """


async def test_row_refused_by_database_is_not_poison(chassis: Chassis):
    await chassis.execute(create("p1"))
    trigger = forbid_reservations_of("o1")
    await chassis.writer.run_in_transaction(lambda connection: connection.exec_driver_sql(trigger))
    good, bad, command = await asyncio.gather(
        chassis.handle(recorded(ordered("o2", "p1", 1))),
        chassis.handle(refused := recorded(ordered("o1", "p1", 1))),
        chassis.execute(create("p2")),
        return_exceptions=True,
    )
    assert good is None
    assert isinstance(bad, StorageUnavailable)
    assert command.position == 5
    assert await chassis.rows(DEAD_LETTER) == []
    assert {row["event_id"] for row in await chassis.rows(INBOX)}.isdisjoint({refused.event_id})
    await chassis.writer.run_in_transaction(
        lambda connection: connection.exec_driver_sql("DROP TRIGGER forbidden")
    )
    await chassis.handle(refused)
    assert await stock_of(chassis, "p1") == (10, 2)


async def test_command_refused_by_database_is_unavailable(chassis: Chassis):
    await chassis.execute(create("p1"))
    trigger = forbid_reservations_of("o1")
    await chassis.writer.run_in_transaction(lambda connection: connection.exec_driver_sql(trigger))
    lines = (LineItem(product_id="p1", quantity=1),)
    with pytest.raises(StorageUnavailable, match="does not take"):
        await chassis.execute(ReserveStock(order_id="o1", items=lines))


async def test_value_refused_by_driver_affects_its_caller_only(chassis: Chassis):
    await chassis.execute(create("p1"))
    odd, other, handled = await asyncio.gather(
        chassis.execute(ChangeStock(product_id="\ud800", quantity=1)),
        chassis.execute(create("p2")),
        chassis.handle(recorded(ordered("o1", "p1", 1))),
        return_exceptions=True,
    )
    assert isinstance(odd, StorageUnavailable)
    assert (other.position, handled) == (5, None)
    assert await stock_of(chassis, "p1") == (10, 1)


async def test_abandoned_command_is_not_executed(chassis: Chassis, tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "inventory.db", isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        waiting = [asyncio.create_task(chassis.execute(create(f"p{index}"))) for index in range(3)]
        await eventually(lambda: chassis.writer.is_busy)
        waiting.append(asyncio.create_task(chassis.handle(recorded(ordered("o1", "p1", 1)))))
        await asyncio.sleep(0)
        chassis.writer.give_up_waiting()
        async with asyncio.timeout(1):  # far less than the lock is waited for
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StorageUnavailable}
    with pytest.raises(StorageUnavailable):
        await chassis.execute(create("p4"))
    await eventually(lambda: not chassis.writer.is_busy)
    assert await nothing_has_happened(chassis)


async def test_started_command_is_not_abandoned(chassis: Chassis):
    has_started, may_end = threading.Event(), threading.Event()

    def work(_: Connection) -> str:
        has_started.set()
        may_end.wait()
        return "done"

    working = asyncio.create_task(chassis.writer.run_in_transaction(work))
    await asyncio.to_thread(has_started.wait)
    chassis.writer.give_up_waiting()
    may_end.set()
    assert await working == "done"
    await chassis.execute(create("p1"))


async def test_caller_cancelled_during_commit_affects_no_other(chassis: Chassis):
    has_started, may_end = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        has_started.set()
        may_end.wait()

    holding = asyncio.create_task(chassis.writer.run_in_transaction(hold))
    leaving = asyncio.create_task(chassis.execute(create("p1")))
    await asyncio.to_thread(has_started.wait)
    leaving.cancel()
    may_end.set()
    await holding
    assert len(await chassis.rows(PRODUCTS)) == 1


@asynccontextmanager
async def busy(chassis: Chassis) -> AsyncIterator[None]:
    """A transaction is under way as long as the block runs."""
    has_started, may_end = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        has_started.set()
        may_end.wait()

    holding = asyncio.create_task(chassis.writer.run_in_transaction(hold))
    await asyncio.to_thread(has_started.wait)
    yield
    may_end.set()
    await holding


def task_result(task_key: str) -> CommandEnvelope:
    now = clock.now()
    task = Task("t1", "some", task_key, {}, now, 0, now, None, "p1", None)
    return CommandEnvelope(ChangeStock(product_id="p1", quantity=1), completes_task=task)


async def test_events_and_results_overtake_queued_commands(chassis: Chassis):
    settled: list[str] = []

    async def note(name: str, work: Awaitable[object]) -> None:
        await work
        settled.append(name)

    async with asyncio.TaskGroup() as group, busy(chassis):
        for number in range(2 * MAX_AT_ONCE):
            group.create_task(note("command", chassis.execute(create(f"p{number}"))))
        await asyncio.sleep(0)
        order = recorded(ordered("o1", "p1", 1))
        group.create_task(note("event", chassis.handle(order)))
        group.create_task(note("mark", chassis.writer.run_in_transaction(lambda _: None)))
        group.create_task(note("result", chassis.writer.execute(task_result("k1"))))
        await asyncio.sleep(0)
    first = settled[:MAX_AT_ONCE]
    assert {"event", "mark", "result"} <= set(first)


async def test_commands_are_not_starved_by_events(chassis: Chassis):
    orders = [recorded(ordered(f"o{number}", "p1", 1)) for number in range(3 * MAX_AT_ONCE)]
    batches = [orders[start : start + MAX_AT_ONCE] for start in range(0, len(orders), MAX_AT_ONCE)]
    async with asyncio.TaskGroup() as group, busy(chassis):
        for batch in batches:
            group.create_task(chassis.handle(*batch))
        await asyncio.sleep(0)
        commands = [
            group.create_task(chassis.execute(create(f"p{number}")))
            for number in range(MIN_REQUESTS)
        ]
        await asyncio.sleep(0)
    assert max(command.result().position for command in commands) <= MAX_AT_ONCE + 2 * MIN_REQUESTS


async def test_commands_beyond_the_queue_limit_are_refused(chassis: Chassis):
    waiting = [asyncio.create_task(chassis.execute(create(f"p{n}"))) for n in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailable, match="commands wait already"):
        await chassis.execute(create("late"))
    assert len(await asyncio.gather(*waiting)) == MAX_WAITING
    await chassis.execute(create("later"))


async def test_failed_begin_answers_all_waiting_commands(chassis: Chassis, tmp_path: Path):
    await chassis.writer.run_in_transaction(pragma("busy_timeout=50"))
    other = sqlite3.connect(tmp_path / "inventory.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with capture_logs() as logs:
        outcomes = await asyncio.gather(
            *(chassis.execute(create(f"p{number}")) for number in range(MAX_WAITING)),
            chassis.handle(recorded(ordered("o1", "p1", 1))),
            return_exceptions=True,
        )
    other.close()
    assert {type(outcome) for outcome in outcomes} == {StorageUnavailable}
    assert [entry["event"] for entry in logs] == ["batch.rolled_back"]
