"""`quadrille reconcile` on one service: what it fetches back from where, and what it refuses."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

import inventory_service.app
import read_api.app
from quadrille.cli.main import main
from shared.chassis.messages.event import Event
from shared.chassis.messages.subjects import STREAM
from shared.contracts import OrderCreated, OrderItem, ShipmentCancelled, StockAdded
from shared.settings import ShopSettings
from tests.support.chassis import Publisher, publishing, started
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.order_client import open_order_service, problem_of
from tests.support.settings import environment_of

ADMIN, PASSWORD = "admin@example.com", "open sesame"
LOG = "SELECT position, event_id, version, event_type, actor, data FROM event_log ORDER BY position"
RESERVATIONS = "SELECT order_id, status FROM reservations ORDER BY order_id"


@pytest.fixture
async def publisher(shop_settings: ShopSettings) -> AsyncIterator[Publisher]:
    async with publishing(shop_settings) as other:
        yield other


async def quadrille(settings: ShopSettings, *arguments: object) -> Result:
    """In another thread, because the command starts its own event loop."""
    environment = environment_of(settings)
    return await asyncio.to_thread(
        CliRunner().invoke, main, [str(argument) for argument in arguments], env=environment
    )


async def reconcile(settings: ShopSettings, service: str, *options: object) -> dict[str, Any]:
    result = await quadrille(settings, "reconcile", service, "--json", *options)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = msgspec.json.decode(result.stdout)
    return document


def query(settings: ShopSettings, service: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(settings.data_dir / f"{service}.db")) as connection, connection:
        return connection.execute(statement).fetchall()


def delete_database(settings: ShopSettings, service: str) -> None:
    for file in settings.data_dir.glob(f"{service}.db*"):
        file.unlink()


def order_created(order_id: str) -> OrderCreated:
    item = OrderItem(product_id="lamp", quantity=1, price=1)
    return OrderCreated(
        order_id=order_id, user_id="u1", items=(item,), total_amount=1, currency="JPY"
    )


class Orders:
    """Events of orders that inventory consumes."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._position = 0

    async def publish(self, *events: Event) -> None:
        for event in events:
            self._position += 1
            source = event.SOURCE or ""
            message = replace(recorded(event, position=self._position), source=source)
            assert await self._publisher.publish([message])


@pytest.fixture
def orders(publisher: Publisher) -> Orders:
    return Orders(publisher)


async def run_inventory(settings: ShopSettings, orders: Orders, *events: Event) -> None:
    """Start it, let it answer these events and publish its own, and stop it."""
    before = len(query(settings, "inventory", LOG)) if _exists(settings, "inventory") else 0
    answers = "SELECT count(*) FROM event_log WHERE stream_seq IS NOT NULL"
    async with started(inventory_service.app.build(settings)):
        await orders.publish(*events)
        expected = before + len(events)
        await eventually(lambda: query(settings, "inventory", answers) == [(expected,)])


def _exists(settings: ShopSettings, service: str) -> bool:
    return (settings.data_dir / f"{service}.db").exists()


def copy_of_inventory(settings: ShopSettings, directory: Path) -> Path:
    return Path(shutil.copy(settings.data_dir / "inventory.db", directory / "copy.db"))


def put_back(settings: ShopSettings, copy: Path) -> None:
    delete_database(settings, "inventory")
    shutil.copy(copy, settings.data_dir / "inventory.db")


async def test_events_come_from_archive_without_stream(
    shop_settings: ShopSettings, publisher: Publisher, orders: Orders, tmp_path: Path
):
    async with started(read_api.app.build(shop_settings)):
        await run_inventory(shop_settings, orders, order_created("o1"))
        copy = copy_of_inventory(shop_settings, tmp_path)
        await run_inventory(shop_settings, orders, order_created("o2"), order_created("o3"))
        applied = "SELECT count(*) FROM events"
        await eventually(lambda: query(shop_settings, "read", applied) == [(6,)])
    log = query(shop_settings, "inventory", LOG)
    reservations = query(shop_settings, "inventory", RESERVATIONS)
    put_back(shop_settings, copy)
    replayed = "SELECT count(*) FROM subscribed_type"
    assert query(shop_settings, "inventory", replayed) != [(0,)]
    await publisher.jetstream().delete_stream(STREAM)
    result = await reconcile(shop_settings, "inventory")
    assert query(shop_settings, "inventory", replayed) == [(0,)], "publishers are asked again"
    assert (result["first"], result["last"], result["fromArchive"]) == (2, 3, 2)
    assert (result["causes"], result["missingCauses"]) == (2, 0)
    assert query(shop_settings, "inventory", LOG) == log
    assert query(shop_settings, "inventory", RESERVATIONS) == reservations


async def test_missed_events_are_handled_from_archive(
    shop_settings: ShopSettings, publisher: Publisher, orders: Orders
):
    """As the stream has a limit, it may lack what was published while the copy was out of use."""
    async with started(read_api.app.build(shop_settings)):
        await run_inventory(shop_settings, orders, order_created("o1"))
        await orders.publish(order_created("o2"))
        applied = "SELECT count(*) FROM events"
        await eventually(lambda: query(shop_settings, "read", applied) == [(3,)])
    await publisher.jetstream().delete_stream(STREAM)
    result = await reconcile(shop_settings, "inventory")
    assert (result["last"], result["handled"]) == (1, 1)
    assert len(query(shop_settings, "inventory", LOG)) == 2


async def test_older_copy_receives_consumed_events_again(
    shop_settings: ShopSettings, orders: Orders, tmp_path: Path
):
    """The service has published nothing since the copy, so its log is complete."""
    await run_inventory(shop_settings, orders, order_created("o1"))
    copy = copy_of_inventory(shop_settings, tmp_path)
    cancelled = ShipmentCancelled(order_id="o2", reason="EXPIRED")
    inbox = "SELECT count(*) FROM inbox"
    async with started(inventory_service.app.build(shop_settings)):
        await orders.publish(cancelled)
        await eventually(lambda: query(shop_settings, "inventory", inbox) == [(2,)])
    put_back(shop_settings, copy)
    assert query(shop_settings, "inventory", inbox) == [(1,)]
    async with started(inventory_service.app.build(shop_settings)):
        await eventually(lambda: query(shop_settings, "inventory", inbox) == [(2,)])
    assert len(query(shop_settings, "inventory", LOG)) == 1


async def test_dry_run_changes_nothing(shop_settings: ShopSettings, orders: Orders):
    await run_inventory(shop_settings, orders, order_created("o1"))
    delete_database(shop_settings, "inventory")
    result = await reconcile(shop_settings, "inventory", "--dry-run")
    assert result["last"] == 1
    assert not _exists(shop_settings, "inventory")
    assert await reconcile(shop_settings, "inventory") == result


async def test_log_with_a_gap_is_not_continued(
    shop_settings: ShopSettings, orders: Orders, publisher: Publisher
):
    await run_inventory(shop_settings, orders, order_created("o1"))
    added = StockAdded(product_id="lamp", quantity=1)
    assert await publisher.publish([replace(recorded(added, position=4), source="inventory")])
    result = await quadrille(shop_settings, "reconcile", "inventory")
    assert result.exit_code == 1
    assert "events 2 to 3 of inventory are neither in the stream nor in an archive" in result.output
    assert len(query(shop_settings, "inventory", LOG)) == 1


async def test_log_of_another_history_is_refused(shop_settings: ShopSettings, orders: Orders):
    await run_inventory(shop_settings, orders, order_created("o1"))
    query(shop_settings, "inventory", "UPDATE event_log SET event_id = 'other'")
    result = await quadrille(shop_settings, "reconcile", "inventory")
    assert result.exit_code == 1
    assert "it is no older copy of the log that was published from" in result.output


async def test_false_event_is_ignored_on_request(
    shop_settings: ShopSettings, orders: Orders, publisher: Publisher, tmp_path: Path
):
    await run_inventory(shop_settings, orders, order_created("o1"))
    copy = copy_of_inventory(shop_settings, tmp_path)
    await run_inventory(shop_settings, orders, order_created("o2"))
    log = query(shop_settings, "inventory", LOG)
    put_back(shop_settings, copy)
    false = replace(
        recorded(StockAdded(product_id="x", quantity=1), position=2), source="inventory"
    )
    assert await publisher.publish([false])
    result = await quadrille(shop_settings, "reconcile", "inventory")
    assert result.exit_code == 1
    assert "name the false one with --ignore" in result.output
    await reconcile(shop_settings, "inventory", "--ignore", false.event_id)
    assert query(shop_settings, "inventory", LOG) == log


async def test_reconcile_of_running_service_is_refused(shop_settings: ShopSettings):
    async with started(inventory_service.app.build(shop_settings)):
        result = await quadrille(shop_settings, "reconcile", "inventory")
    assert result.exit_code == 1
    assert "another process uses" in result.output


async def test_lost_order_database_needs_new_keys_and_passwords(
    shop_settings: ShopSettings, publisher: Publisher
):
    settings = replace(shop_settings, admin_password=PASSWORD)
    archived = "SELECT count(*) FROM events"
    async with open_order_service(settings) as client, started(read_api.app.build(settings)):
        await client.register("jane@example.com")
        await eventually(lambda: query(settings, "read", archived) == [(4,)])
    log = query(settings, "order", LOG)
    actors = "SELECT event_type, actor FROM event_log ORDER BY event_type, actor"
    assert query(settings, "order", actors) == [
        ("CustomerRegistered", "guest"),
        ("CustomerRegistered", "service"),
        ("EmailVerificationRequested", "guest"),
        ("SigningKeyPublished", "service"),
    ]
    await publisher.jetstream().delete_stream(STREAM)
    delete_database(settings, "order")
    await reconcile(settings, "order")
    assert query(settings, "order", LOG) == log
    assert (await quadrille(settings, "reset-keys", "order")).exit_code == 0
    reset = await quadrille(settings, "reset-password", ADMIN)
    password = reset.output.split(" is ")[1].split()[0]
    async with open_order_service(settings) as client:
        problem_of(await client.login("jane@example.com"), 401, "bad-credentials")
        await client.sign_in(ADMIN, password)
        customers = query(settings, "order", "SELECT email FROM customers ORDER BY email")
        assert customers == [(ADMIN,), ("jane@example.com",)]
