"""Services and the broker stop, crash and start; every accepted order is completed all the same."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.mail_sink import Answer
from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json, order_of
from tests.support.shop_expectations import SERVICES

PAUSE_SECONDS = 0.02
"""Between two orders of a customer."""

CROWD = 200
"""Clients that order at the same time."""

DECIDING = ("order", "inventory", "shipping", "notifier")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningShop]:
    """A shop whose services may be stopped."""
    with RunningShop(tmp_path_factory.mktemp("shop"), carrier_success_rate=1) as shop:
        await shop.start()
        await shop.stock_up(plenty=100_000)
        yield shop


async def test_services_start_in_any_order_before_broker(tmp_path: Path, seed: int):
    order_of_start = random.Random(seed).sample(list(SERVICES), k=len(SERVICES))
    with RunningShop(tmp_path, carrier_success_rate=1) as shop:
        shop.mail.start()
        for name in order_of_start:
            shop.start_service(name)
        for name in order_of_start:
            await eventually(lambda name=name: waits_for_broker(shop, name), 60)
            assert shop.guest.show(name, "/health/live")["status"] == "live"
        shop.broker.start()
        await shop.until_ready(*SERVICES)
        await shop.sign_in()
        await shop.stock_up(plenty=3)
        placed = shop.guest.order(("plenty", 3))
        await shop.until(placed["orderId"], "COMPLETED")
        await shop.settle()


async def test_order_without_broker_completes_after_restart(shop: RunningShop):
    shop.broker.kill()
    placed = shop.guest.order(("plenty", 1), email=f"{uuid4().hex}@example.com")
    for name in SERVICES:
        await eventually(lambda name=name: waits_for_broker(shop, name), 30)
    assert shop.status(placed["orderId"]) == "PENDING"
    shop.broker.restart()
    await shop.until(placed["orderId"], "COMPLETED")
    await shop.until_ready(*SERVICES)
    await shop.settle()


async def test_unpublished_order_survives_crash_of_its_service(shop: RunningShop):
    shop.broker.kill()
    placed = shop.guest.order(("plenty", 1))
    shop.kill("order")
    shop.broker.restart()
    shop.start_service("order")
    await shop.until(placed["orderId"], "COMPLETED")
    await shop.settle()


async def test_broker_crash_loses_no_order(shop: RunningShop):
    customer = str(uuid4())
    async with asyncio.TaskGroup() as tasks:
        has_ended = asyncio.Event()
        ordering = [tasks.create_task(order_until(shop, customer, has_ended)) for _ in range(3)]
        await eventually(lambda: orders_of(shop, customer) >= 10, 30)
        shop.broker.kill()
        await eventually(lambda: orders_of(shop, customer) >= 20, 30)
        shop.broker.restart()
        await eventually(lambda: orders_of(shop, customer) >= 30, 30)
        has_ended.set()
    placed = [order for task in ordering for order in task.result()]
    await shop.settle()
    assert {shop.status(order["orderId"]) for order in placed} == {"COMPLETED"}


@pytest.mark.parametrize("name", DECIDING)
async def test_restarted_service_handles_missed_events(shop: RunningShop, name: str):
    shop.kill(name)
    if name == "order":
        shop.start_service(name)
        await shop.until_ready(name)
    placed = shop.guest.order(("plenty", 1), email=f"{uuid4().hex}@example.com")
    if name != "order":
        shop.start_service(name)
    await shop.until(placed["orderId"], "COMPLETED")
    await shop.settle()


@pytest.mark.parametrize("name", SERVICES)
async def test_service_stopped_under_load_loses_nothing(shop: RunningShop, name: str):
    customer = str(uuid4())
    async with asyncio.TaskGroup() as tasks:
        has_ended = asyncio.Event()
        ordering = [tasks.create_task(order_until(shop, customer, has_ended)) for _ in range(3)]
        await eventually(lambda: orders_of(shop, customer) >= 10, 30)
        await asyncio.to_thread(shop.terminate, name)
        shop.start_service(name)
        has_ended.set()
    placed = [order for task in ordering for order in task.result()]
    await shop.until_ready(name)
    await shop.settle()
    assert {shop.status(order["orderId"]) for order in placed} == {"COMPLETED"}
    assert orders_of(shop, customer) == len(placed)


async def test_orders_complete_after_stop_of_all_services(shop: RunningShop):
    placed = [shop.guest.order(("plenty", 1)) for _ in range(5)]
    shop.terminate(*SERVICES)
    for name in SERVICES:
        shop.start_service(name)
    await shop.until_ready(*SERVICES)
    for order in placed:
        await shop.until(order["orderId"], "COMPLETED")
    await shop.settle()


async def test_open_stream_does_not_delay_stop(shop: RunningShop):
    with shop.admin.stream("GET", "read", "/events/stream") as following:
        lines = following.iter_lines()
        next(lines)
        shop.terminate("read")
        for _ in lines:  # ends, without an error
            pass
    shop.start_service("read")
    await shop.until_ready("read")


async def test_stream_resumes_after_last_event(shop: RunningShop):
    placed = shop.guest.order(("plenty", 1))
    path = f"/orders/{placed['orderId']}/stream"
    last_events = (
        "OrderCompleted",
        "StockDeducted",
    )  # in either order: two services react to one event
    whole = shop.admin.watch(path, *last_events)
    first = shop.admin.watch(path, "StockReserved")
    await shop.restart("read")
    rest = shop.admin.watch(path, *last_events, after=first[-1])
    assert event_ids(whole) == sorted(event_ids(first) + event_ids(rest))


async def test_deleted_read_database_is_rebuilt_equal(shop: RunningShop):
    placed = shop.guest.order(("plenty", 1))
    await shop.until(placed["orderId"], "COMPLETED")
    await shop.settle()
    shop.terminate("read")
    before = rows_of(shop.data_dir / "read.db")
    assert before["orders"]
    shop.delete_database("read")
    shop.start_service("read")
    await shop.until_ready("read")
    await eventually(lambda: rows_of(shop.data_dir / "read.db") == before, 30)


async def test_stop_with_a_locked_database_answers_503(shop: RunningShop):
    before = orders_in_all(shop)
    with closing(sqlite3.connect(shop.data_dir / "order.db", isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        async with asyncio.TaskGroup() as tasks:
            posts = [
                tasks.create_task(asyncio.to_thread(shop.guest.post_order, ("plenty", 1)))
                for _ in range(3)
            ]
            await asyncio.sleep(0.5)  # only a command that has arrived needs an answer
            await asyncio.to_thread(shop.terminate, "order")
        assert {post.result().status_code for post in posts} == {503}
    shop.start_service("order")
    await shop.until_ready("order")
    assert orders_in_all(shop) == before


async def test_stop_is_prompt_while_everything_hangs(shop: RunningShop):
    """The mail server answers no mail, the broker is frozen and every database locked."""
    email = f"{uuid4().hex}@example.com"
    shop.mail.answer = Answer.NONE
    placed = shop.guest.order(("plenty", 1), email=email)
    with ExitStack() as locks:
        for name in SERVICES:
            path = shop.data_dir / f"{name}.db"
            locker = locks.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            locker.execute("BEGIN IMMEDIATE")
        shop.broker.pause()
        await asyncio.to_thread(shop.terminate, *SERVICES)
    shop.broker.resume()
    shop.mail.answer = Answer.ACCEPTED
    for name in SERVICES:
        shop.start_service(name)
    await shop.until_ready(*SERVICES)
    await shop.until(placed["orderId"], "COMPLETED")
    await shop.settle()
    message_ids = [mail["Message-ID"] for mail in shop.mail.mails(email)]
    assert message_ids
    assert len(set(message_ids)) == len(message_ids)


async def test_order_of_disconnected_client_is_not_placed(shop: RunningShop):
    before = orders_in_all(shop)
    with closing(sqlite3.connect(shop.data_dir / "order.db", isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(asyncio.to_thread(shop.guest.post_order, ("plenty", 1)))
        await asyncio.sleep(
            0.3
        )  # its transaction waits for the lock; what arrives now, for the next one
        with pytest.raises(httpx.ReadTimeout):
            shop.guest.ask("POST", "order", "/orders", order_of([("plenty", 1)], {}), timeout=0.3)
    assert (await waiting).status_code == 201
    shop.guest.order(("plenty", 1))
    assert orders_in_all(shop) == before + 2


async def test_overloaded_service_loses_no_accepted_order(shop: RunningShop):
    await shop.restart("order", max_connections="16")
    url, order = shop.url("order", "/orders"), order_of([("plenty", 1)], {})
    connections = httpx.Limits(max_connections=CROWD, max_keepalive_connections=0)
    async with httpx.AsyncClient(limits=connections, timeout=60, verify=False) as crowd:
        answers = await asyncio.gather(*(crowd.post(url, json=order) for _ in range(CROWD)))
    assert {answer.status_code for answer in answers} == {201, 503}
    assert {answer.headers.get("Retry-After") for answer in answers} == {None, "1"}
    for answer in answers:
        if answer.status_code == 201:
            await shop.until(answer.json()["orderId"], "COMPLETED")
    await shop.restart("order")
    await shop.settle()


async def test_port_in_use_is_one_sentence(shop: RunningShop, tmp_path: Path):
    with RunningShop(tmp_path, order_port=shop.port("order")) as another:
        another.start_service("order")
        assert another.wait_exit("order") == 1
        lines = another.log("order").splitlines()
    assert len(lines) == 1
    assert str(shop.port("order")) in lines[0]


def waits_for_broker(shop: RunningShop, name: str) -> bool:
    response = shop.health(name, "ready")
    if response is None:
        return False
    assert response.status_code == 503
    return any("broker" in reason for reason in response.json()["waitingFor"])


def event_ids(events: list[Json]) -> list[str]:
    return sorted(event["eventId"] for event in events)


def orders_of(shop: RunningShop, customer: str) -> int:
    with closing(sqlite3.connect(shop.data_dir / "order.db")) as connection:
        query = "SELECT count(*) FROM orders WHERE user_id = ?"
        count: int = connection.execute(query, (customer,)).fetchone()[0]
    return count


def orders_in_all(shop: RunningShop) -> int:
    with closing(sqlite3.connect(shop.data_dir / "order.db")) as connection:
        count: int = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
    return count


async def order_until(shop: RunningShop, customer: str, has_ended: asyncio.Event) -> list[Json]:
    placed: list[Json] = []
    while not has_ended.is_set():
        order = await asyncio.to_thread(
            shop.guest.order_with_retries, ("plenty", 1), userId=customer
        )
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
