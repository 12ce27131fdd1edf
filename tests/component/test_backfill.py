"""The read API gets from the owners of event logs what the stream does not bring."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from quadrille.cli import provision
from quadrille.launcher.nats_users import PROVISIONER
from read_api.app import build
from read_api.tables import EVENTS, HELD_EVENTS, POSITIONS
from shared.chassis.jetstream import backfill
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import checkpoints
from shared.chassis.storage.database import Database, database_url, open_for_reading
from shared.contracts import ProductCreated
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import Publisher, publishing, rows_of, serving, started
from tests.support.eventually import eventually
from tests.support.histories import Log, log_of
from tests.support.replay import create_stream, record_as_sent
from tests.support.settings import settings_for


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "CHECK_SECONDS", 0.2)


def products(number: int) -> Log:
    return log_of(
        "inventory",
        *(
            ProductCreated(product_id=f"p{index}", name="Keyboard", description="", price=1)
            for index in range(number)
        ),
    )


@asynccontextmanager
async def reading(settings: ShopSettings) -> AsyncIterator[Database]:
    """The read API runs; opens its database."""
    async with started(build(settings)):
        database = open_for_reading(database_url("read", settings))
        yield database
        await database.close()


async def is_archived(database: Database, log: Sequence[RecordedEvent]) -> bool:
    """Whether exactly these events are applied, and none is held."""
    applied = {row["source"]: row["applied"] for row in await rows_of(database, POSITIONS)}
    assert applied == {"inventory": len(log)}
    events = await rows_of(database, EVENTS)
    assert [row["event_id"] for row in events] == [recorded.event_id for recorded in log]
    return await rows_of(database, HELD_EVENTS) == []


async def test_gap_is_filled_by_the_owner(tmp_path: Path):
    server = NatsServer(tmp_path / "nats", has_users=True)
    server.start()
    log = products(8)
    try:
        provisioner = settings_for(tmp_path, server.url_of(PROVISIONER))
        await provision.maintain_stream(provisioner, once=True)
        owner = settings_for(tmp_path, server.url_of("inventory"))
        reader = settings_for(tmp_path, server.url_of("read"))
        async with serving(owner) as service, reading(reader) as database:
            await record_as_sent(service, log)
            publisher = Publisher("inventory", owner)
            await publisher.connect()
            await publisher.publish([*log[:2], *log[5:7]])
            await eventually(lambda: is_archived(database, log), 20)
            await publisher.close()
    finally:
        server.terminate()


async def test_gap_waits_for_an_owner_that_is_down(shop_settings: ShopSettings):
    log = products(4)
    async with serving(shop_settings) as service:
        await record_as_sent(service, log)
    async with publishing(shop_settings) as publisher, reading(shop_settings) as database:
        await publisher.publish([log[0], log[3]])
        await eventually(lambda: rows_of(database, HELD_EVENTS), 20)
        async with serving(shop_settings):
            await eventually(lambda: is_archived(database, log), 30)


async def test_owner_answers_after_the_broker_lost_everything(
    broker: NatsServer, shop_settings: ShopSettings, tmp_path: Path
):
    log = products(3)
    async with serving(shop_settings) as service:
        await record_as_sent(service, log)
        broker.kill()
        shutil.rmtree(tmp_path / "nats" / "store")
        async with reading(shop_settings) as database:
            broker.restart()
            await eventually(lambda: is_archived(database, log), 30)


async def test_source_without_events_in_the_stream_is_replayed(shop_settings: ShopSettings):
    log = products(3)
    async with serving(shop_settings) as service, reading(shop_settings) as database:
        await record_as_sent(service, log)
        await eventually(lambda: is_archived(database, log), 20)


async def test_new_database_gets_expired_events_first(
    shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch
):
    """Those in the stream would be held until the others arrive."""
    monkeypatch.setattr(checkpoints, "MAX_AHEAD", 100)
    monkeypatch.setattr(backfill, "CHECK_SECONDS", 0)  # checks run during the replay
    log = products(1200)
    publisher = Publisher("test", shop_settings)
    await publisher.connect()
    await create_stream(publisher, shop_settings, first=1001)
    async with serving(shop_settings) as service:
        await record_as_sent(service, log)
        await publisher.publish(log[1190:])
        with capture_logs() as logs:
            async with reading(shop_settings) as database:
                await eventually(lambda: is_archived(database, log), 20)
        assert {"events.missing", "event.diverged"} & {line["event"] for line in logs} == set()
    await publisher.close()


async def test_very_long_gap_is_filled(
    shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch
):
    """As when the read API was away for longer than the stream keeps events."""
    monkeypatch.setattr(checkpoints, "MAX_AHEAD", 100)
    log = products(1200)
    async with (
        serving(shop_settings) as service,
        publishing(shop_settings) as publisher,
        reading(shop_settings) as database,
    ):
        await eventually(lambda: service.waiting_for() == [], 20)
        assert await publisher.publish(log[:5])
        await eventually(lambda: is_archived(database, log[:5]), 20)
        assert await publisher.publish(log[1190:1195])
        await eventually(lambda: rows_of(database, HELD_EVENTS), 20)
        await record_as_sent(service, log)
        await eventually(lambda: is_archived(database, log), 20)
