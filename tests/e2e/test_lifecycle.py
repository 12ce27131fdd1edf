"""Services come and go, and so does the broker; what was accepted is carried out all the same."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.running_shop import SERVICES, Fleet, Json

PAUSE_SECONDS = 0.02
"""Of a customer between two orders."""

DECIDING = ("order", "inventory", "shipping", "notifier")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """A shop whose services may be stopped."""
    with Fleet(tmp_path_factory.mktemp("shop"), carrier_success_rate=1) as fleet:
        await fleet.start()
        await fleet.stock_up(plenty=100_000)
        yield fleet


async def test_services_start_in_any_order_and_the_broker_last(tmp_path: Path, seed: int):
    order_of_start = random.Random(seed).sample(list(SERVICES), k=len(SERVICES))
    with Fleet(tmp_path, carrier_success_rate=1) as fleet:
        fleet.mail.start()
        for name in order_of_start:
            fleet.start_service(name)
        for name in order_of_start:
            await eventually(lambda name=name: waits_for_the_broker(fleet, name), 60)
            assert fleet.show(name, "/health/live")["status"] == "live"
        fleet.broker.start()
        await fleet.until_ready(*SERVICES)
        await fleet.sign_in()
        await fleet.stock_up(plenty=3)
        placed = fleet.order(("plenty", 3))
        await fleet.until(placed["orderId"], "COMPLETED")
        await fleet.settle()


async def test_an_order_accepted_without_a_broker_is_carried_out_when_it_is_back(shop: Fleet):
    shop.broker.kill()
    placed = shop.order(("plenty", 1), email=f"{uuid4().hex}@example.com")
    for name in SERVICES:
        await eventually(lambda name=name: waits_for_the_broker(shop, name), 30)
    assert shop.status(placed["orderId"]) == "PENDING"
    shop.broker.restart()
    await shop.until(placed["orderId"], "COMPLETED")
    await shop.until_ready(*SERVICES)
    await shop.settle()


async def test_an_order_that_was_never_sent_survives_its_service_too(shop: Fleet):
    shop.broker.kill()
    placed = shop.order(("plenty", 1))
    shop.kill("order")
    shop.broker.restart()
    shop.start_service("order")
    await shop.until(placed["orderId"], "COMPLETED")
    await shop.settle()


async def test_a_broker_that_dies_among_orders_loses_none(shop: Fleet):
    customer = str(uuid4())
    async with asyncio.TaskGroup() as tasks:
        is_over = asyncio.Event()
        ordering = [tasks.create_task(order_until(shop, customer, is_over)) for _ in range(3)]
        await eventually(lambda: orders_of(shop, customer) >= 10, 30)
        shop.broker.kill()
        await eventually(lambda: orders_of(shop, customer) >= 20, 30)
        shop.broker.restart()
        await eventually(lambda: orders_of(shop, customer) >= 30, 30)
        is_over.set()
    placed = [order for task in ordering for order in task.result()]
    await shop.settle()
    assert {shop.status(order["orderId"]) for order in placed} == {"COMPLETED"}


@pytest.mark.parametrize("name", DECIDING)
async def test_a_service_that_was_away_finds_what_it_missed(shop: Fleet, name: str):
    shop.kill(name)
    if name == "order":
        shop.start_service(name)
        await shop.until_ready(name)
    placed = shop.order(("plenty", 1), email=f"{uuid4().hex}@example.com")
    if name != "order":
        shop.start_service(name)
    await shop.until(placed["orderId"], "COMPLETED")
    await shop.settle()


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_asked_to_stop_under_load_does_so_and_loses_nothing(shop: Fleet, name: str):
    customer = str(uuid4())
    async with asyncio.TaskGroup() as tasks:
        is_over = asyncio.Event()
        ordering = [tasks.create_task(order_until(shop, customer, is_over)) for _ in range(3)]
        await eventually(lambda: orders_of(shop, customer) >= 10, 30)
        await asyncio.to_thread(shop.terminate, name)
        shop.start_service(name)
        is_over.set()
    placed = [order for task in ordering for order in task.result()]
    await shop.until_ready(name)
    await shop.settle()
    assert {shop.status(order["orderId"]) for order in placed} == {"COMPLETED"}
    assert orders_of(shop, customer) == len(placed)


async def test_all_stop_at_once_and_go_on_where_they_were(shop: Fleet):
    placed = [shop.order(("plenty", 1)) for _ in range(5)]
    shop.terminate(*SERVICES)
    for name in SERVICES:
        shop.start_service(name)
    await shop.until_ready(*SERVICES)
    for order in placed:
        await shop.until(order["orderId"], "COMPLETED")
    await shop.settle()


async def test_an_open_stream_does_not_hold_up_the_end(shop: Fleet):
    with shop.stream("read", "/events/stream") as following:
        lines = following.iter_lines()
        next(lines)
        shop.terminate("read")
        for _ in lines:  # ends, without an error
            pass
    shop.start_service("read")
    await shop.until_ready("read")


async def test_a_stream_resumes_where_it_was_cut_off(shop: Fleet):
    placed = shop.order(("plenty", 1))
    path = f"/orders/{placed['orderId']}/stream"
    last_words = "OrderCompleted", "StockDeducted"  # in either order: two services answer one event
    whole = shop.watch(path, *last_words)
    begun = shop.watch(path, "StockReserved")
    await shop.restart("read")
    rest = shop.watch(path, *last_words, after=begun[-1])
    assert event_ids(whole) == sorted(event_ids(begun) + event_ids(rest))


async def test_a_read_database_that_was_deleted_is_rebuilt_equal(shop: Fleet):
    placed = shop.order(("plenty", 1))
    await shop.until(placed["orderId"], "COMPLETED")
    await shop.settle()
    shop.terminate("read")
    before = rows_of(shop.data_dir / "read.db")
    assert before["orders"]
    shop.delete_database("read")
    shop.start_service("read")
    await shop.until_ready("read")
    await eventually(lambda: rows_of(shop.data_dir / "read.db") == before, 30)


async def test_stop_with_a_locked_database_answers_503(shop: Fleet):
    before = orders_in_all(shop)
    with closing(sqlite3.connect(shop.data_dir / "order.db", isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        async with asyncio.TaskGroup() as tasks:
            posts = [
                tasks.create_task(asyncio.to_thread(shop.post_order, ("plenty", 1)))
                for _ in range(3)
            ]
            await asyncio.sleep(0.5)  # a command that has not come needs no answer
            await asyncio.to_thread(shop.terminate, "order")
        assert {post.result().status_code for post in posts} == {503}
    shop.start_service("order")
    await shop.until_ready("order")
    assert orders_in_all(shop) == before


async def test_a_port_in_use_is_said_in_one_sentence(shop: Fleet, tmp_path: Path):
    with Fleet(tmp_path, order_port=shop.port("order")) as another:
        another.start_service("order")
        assert another.wait_exit("order") == 1
        said = another.log("order").splitlines()
    assert len(said) == 1
    assert str(shop.port("order")) in said[0]


def waits_for_the_broker(shop: Fleet, name: str) -> bool:
    if not shop.answers(name):
        return False
    response = shop.get(name, "/health/ready")
    assert response.status_code == 503
    return any("broker" in reason for reason in response.json()["waitingFor"])


def event_ids(events: list[Json]) -> list[str]:
    return sorted(event["eventId"] for event in events)


def orders_of(shop: Fleet, customer: str) -> int:
    with closing(sqlite3.connect(shop.data_dir / "order.db")) as connection:
        query = "SELECT count(*) FROM orders WHERE user_id = ?"
        count: int = connection.execute(query, (customer,)).fetchone()[0]
    return count


def orders_in_all(shop: Fleet) -> int:
    with closing(sqlite3.connect(shop.data_dir / "order.db")) as connection:
        count: int = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
    return count


async def order_until(shop: Fleet, customer: str, is_over: asyncio.Event) -> list[Json]:
    placed: list[Json] = []
    while not is_over.is_set():
        order = await asyncio.to_thread(shop.order_insistently, ("plenty", 1), userId=customer)
        placed.append(order)
        await asyncio.sleep(PAUSE_SECONDS)
    return placed


def rows_of(database: Path) -> dict[str, list[Any]]:
    """Every row of every table but for the database's own id."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [
            name
            for (name,) in names
            if name != "database_identity" and not name.startswith("sqlite_")
        ]
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)
            for table in tables
        }
