"""A database belongs to one service, one format and one process, and to the log that was published from it."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import MetaData

from shared.chassis.errors import REFUSED
from shared.chassis.messages.subjects import STREAM
from shared.chassis.settings import SettingsError
from shared.chassis.storage.database import (
    database_url,
    open_for_writing,
)
from shared.chassis.storage.migrations import migrate
from shared.contracts import CATALOG, OrderCreated, OrderItem
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import Publisher, publishing
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.ports import free_port
from tests.support.process import service_process

START_SECONDS = 30


@pytest.fixture
async def publisher(shop_settings: ShopSettings) -> AsyncIterator[Publisher]:
    async with publishing(shop_settings) as other:
        yield other


def order_created(order_id: str) -> OrderCreated:
    item = OrderItem(product_id="p1", quantity=1, price=1)
    return OrderCreated(
        order_id=order_id, user_id="u1", items=(item,), total_amount=1, currency="JPY"
    )


async def make_database(settings: ShopSettings, service: str) -> None:
    """Create it as the service does at its first start."""
    database = open_for_writing(database_url(service, settings))
    migration = partial(migrate, service=service, metadata=MetaData(), derived=(), versions=None)
    await database.run(migration)
    await database.close()


async def run_inventory(settings: ShopSettings, publisher: Publisher, order_id: str) -> None:
    """Start inventory, wait until it has answered one order, and stop it."""
    with service_process("inventory", settings) as process:
        await eventually(process.is_ready, START_SECONDS)
        published = await publisher.streams.last_published("inventory", CATALOG)
        assert await publisher.publish([recorded(order_created(order_id))])

        async def is_answered() -> bool:
            return await publisher.streams.last_published("inventory", CATALOG) != published

        await eventually(is_answered)
        process.stop()


async def test_second_process_on_a_database_is_refused(shop_settings: ShopSettings):
    second = replace(shop_settings, inventory_port=free_port())
    with service_process("inventory", shop_settings) as first:
        await eventually(first.is_ready, START_SECONDS)
        with service_process("inventory", second) as refused:
            code, output = refused.ended()
        assert code == REFUSED
        assert "another process uses" in output
        assert output.count("\n") == 1, "one sentence"
        assert first.is_ready()


async def test_database_of_another_service_is_refused(shop_settings: ShopSettings):
    await make_database(shop_settings, "inventory")
    file = shop_settings.data_dir / "inventory.db"
    with service_process(
        "order", replace(shop_settings, database_url=f"sqlite:///{file}")
    ) as other:
        code, output = other.ended()
    assert code == REFUSED
    assert f"{file} is the database of inventory, not of order" in output
    assert output.count("\n") == 1, "one sentence"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("UPDATE database_identity SET format = 0", "made by an older release"),
        ("UPDATE database_identity SET format = 999", "made by a newer release"),
        ("DROP TABLE database_identity", "not made by this release"),
    ],
)
async def test_database_of_another_format_is_refused(
    shop_settings: ShopSettings, change: str, sentence: str
):
    await make_database(shop_settings, "shipping")
    with sqlite3.connect(shop_settings.data_dir / "shipping.db") as connection:
        connection.execute(change)
    connection.close()
    with service_process("shipping", shop_settings) as refused:
        code, output = refused.ended()
    assert code == REFUSED
    assert sentence in output
    assert output.count("\n") == 1, "one sentence"


async def test_restored_copy_older_than_published_is_refused(
    shop_settings: ShopSettings, publisher: Publisher, tmp_path: Path
):
    database, copy = shop_settings.data_dir / "inventory.db", tmp_path / "copy.db"
    await run_inventory(shop_settings, publisher, "o1")
    shutil.copy(database, copy)
    await run_inventory(shop_settings, publisher, "o2")
    shutil.copy(copy, database)
    last = await publisher.streams.last_published("inventory", CATALOG)
    with service_process("inventory", shop_settings) as restored:
        code, output = restored.ended()
    assert code == REFUSED
    assert "is not the log that event 2 of inventory was published from" in output
    assert await publisher.streams.last_published("inventory", CATALOG) == last


async def test_diverged_copy_never_publishes(
    shop_settings: ShopSettings, publisher: Publisher, broker: NatsServer, tmp_path: Path
):
    """The copy has recorded as many events as the stream, so that only their ids differ."""
    database, copy = shop_settings.data_dir / "inventory.db", tmp_path / "copy.db"
    await run_inventory(shop_settings, publisher, "o1")
    shutil.copy(database, copy)
    await run_inventory(shop_settings, publisher, "o2")
    last = await publisher.streams.last_published("inventory", CATALOG)
    shutil.copy(copy, database)
    with sqlite3.connect(database) as connection:
        connection.execute(
            "INSERT INTO event_log SELECT 2, 'other', 'o3', 1, event_type, schema_version,"
            " replace(data, 'o1', 'o3'), causation_id, 'o3', traceparent, recorded_at, NULL, 0, NULL, NULL"
            " FROM event_log WHERE position = 1"
        )
    connection.close()
    with service_process("inventory", shop_settings) as diverged:
        code, output = diverged.ended()
    assert code == REFUSED
    assert "is not the log that event 2 of inventory was published from" in output
    assert await publisher.streams.last_published("inventory", CATALOG) == last


async def test_deleted_database_of_a_publisher_is_refused(
    shop_settings: ShopSettings, publisher: Publisher
):
    await run_inventory(shop_settings, publisher, "o1")
    for file in shop_settings.data_dir.glob("inventory.db*"):
        file.unlink()
    with service_process("inventory", shop_settings) as process:
        code, output = process.ended()
    assert code == REFUSED
    assert "or new; fetch the later events back with: quadrille reconcile inventory" in output


async def test_two_databases_of_one_service_share_no_durable(
    shop_settings: ShopSettings, publisher: Publisher, tmp_path: Path
):
    settings_of_second = replace(
        shop_settings, data_dir=tmp_path / "second", read_api_port=free_port()
    )
    with service_process("read", shop_settings) as first:
        await eventually(first.is_ready, START_SECONDS)
        created = await _created_at(publisher)
        with service_process("read", settings_of_second) as second:
            await eventually(
                lambda: "another process consumes" in str(second.waiting_for()), START_SECONDS
            )
            assert first.is_ready()
            assert await _created_at(publisher) == created
            first.stop()
            await eventually(second.is_ready, START_SECONDS)


async def _created_at(publisher: Publisher) -> object:
    return (await publisher.jetstream().consumer_info(STREAM, "read")).created


@pytest.mark.parametrize(
    "url", ["postgresql://localhost/shop", "sqlite+aiosqlite:///x.db", "sqlite://", "no url", ""]
)
def test_database_url_of_another_kind_is_refused(url: str):
    with pytest.raises(SettingsError, match="QUADRILLE_DATABASE_URL: expected sqlite:///"):
        database_url("order", ShopSettings(database_url=url))
