"""What the broker has lost, in whatever way, is published again: the stream contains every event of the log."""

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path

import nats.js.errors
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, update

from inventory_service.domain import CreateProduct, Description, UpdateProduct
from order_service.orders.price_store import LIST_PRICES
from quadrille.cli import provision
from quadrille.launcher import nats_config
from quadrille.launcher.nats_users import PROVISIONER, USERS
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.jetstream import resync, stream_config
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.messages import clock
from shared.chassis.messages.cloudevents import decode
from shared.chassis.messages.subjects import STREAM
from shared.chassis.runtime.service import Service
from shared.chassis.storage import event_log, stream_audit
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.chassis.storage.event_log import EVENT_LOG
from shared.contracts import CATALOG
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import ORDER, Publisher, rows_of, serving
from tests.support.eventually import eventually
from tests.support.settings import settings_for

DAY = 86_400
RECONNECT_SECONDS = 20


async def create(service: Service, *numbers: int) -> None:
    """One product for each number."""
    described = Description(name="Keyboard", description="x", price=5000)
    for number in numbers:
        command = CreateProduct(product_id=f"p{number}", description=described, stock=0)
        await service.writer.execute(CommandEnvelope(command))


async def ids_in_stream(service: Service) -> Counter[str]:
    """How often the stream contains each event, read one by one."""
    stream = service.broker.jetstream()
    state = (await stream.stream_info(STREAM)).state
    ids: Counter[str] = Counter()
    for number in range(max(state.first_seq, 1), state.last_seq + 1):
        try:
            message = await stream.get_msg(STREAM, seq=number)
        except nats.js.errors.APIError:  # damaged, or removed
            continue
        ids[decode(message.subject or "", message.data or b"", CATALOG).event_id] += 1
    return ids


async def is_complete(service: Service) -> bool:
    """Whether every event of the log is in the stream and acknowledged, and the service is ready."""
    rows = await rows_of(service.reads, EVENT_LOG)
    try:
        stored = await ids_in_stream(service)
    except BROKER_ERRORS:  # it restarts
        return False
    missing = [row["position"] for row in rows if row["event_id"] not in stored]
    unsent = [row["position"] for row in rows if not row["stream_seq"]]
    assert (missing, unsent, service.waiting_for()) == ([], [], [])
    return True


async def is_complete_again(service: Service) -> bool:
    return await eventually(lambda: is_complete(service), RECONNECT_SECONDS)


async def is_compared(service: Service, *, after: str = "") -> bool:
    """Whether every event was compared with the stream, by another process of the broker than `after`."""
    audit = await service.reads.run(stream_audit.read)
    return audit is not None and audit.server_id != after


async def knows_prices(listener: Service, number: int) -> bool:
    return len(await rows_of(listener.reads, LIST_PRICES)) == number


async def test_wiped_store_is_filled_again_twice(shop_settings: ShopSettings, broker: NatsServer):
    async with serving(shop_settings) as service, serving(shop_settings, ORDER) as listener:
        await create(service, 1, 2)
        for number in (3, 4):
            assert await is_complete_again(service)
            broker.wipe()
            broker.restart()
            await create(service, number)
        assert await is_complete_again(service)
        await eventually(lambda: knows_prices(listener, 4))
        assert await rows_of(listener.reads, DEAD_LETTER) == []


async def test_deleted_stream_is_filled_again(shop_settings: ShopSettings):
    async with serving(shop_settings) as service, serving(shop_settings, ORDER) as listener:
        await create(service, 1, 2, 3)
        assert await is_complete_again(service)
        await service.broker.jetstream().delete_stream(STREAM)
        assert await is_complete_again(service)
        assert set((await ids_in_stream(service)).values()) == {1}
        await create(service, 4)
        await eventually(lambda: knows_prices(listener, 4))


async def test_events_after_older_copy_are_published_again(
    shop_settings: ShopSettings, broker: NatsServer, tmp_path: Path
):
    async with serving(shop_settings) as service, serving(shop_settings, ORDER) as listener:
        await create(service, 1, 2)
        await eventually(lambda: knows_prices(listener, 2))
        broker.terminate()
        broker.copy_store(tmp_path / "copy")
        broker.restart()
        await create(service, 3, 4)
        assert await is_complete_again(service)
        await eventually(lambda: knows_prices(listener, 4))
        broker.put_back(tmp_path / "copy")
        await create(service, 5)
        broker.restart()
        assert await is_complete_again(service)
        await eventually(lambda: knows_prices(listener, 5))


async def test_restarted_services_notice_an_older_copy(
    shop_settings: ShopSettings, broker: NatsServer, tmp_path: Path
):
    """A power failure: the broker's newest writes are gone, and its clients were stopped too."""
    async with serving(shop_settings) as service:
        await create(service, 1)
        assert await is_complete_again(service)
        broker.terminate()
        broker.copy_store(tmp_path / "copy")
        broker.restart()
        await create(service, 2, 3)
        assert await is_complete_again(service)
    broker.put_back(tmp_path / "copy")
    broker.restart()
    async with serving(shop_settings) as service, serving(shop_settings, ORDER) as listener:
        assert await is_complete_again(service)
        await eventually(lambda: knows_prices(listener, 3))


async def test_damaged_last_block_is_completed(shop_settings: ShopSettings, broker: NatsServer):
    """The broker drops everything from the damaged bit on, and uses the stream sequences again."""
    async with serving(shop_settings) as service, serving(shop_settings, ORDER) as listener:
        await create(service, *range(20))
        await eventually(lambda: knows_prices(listener, 20))
        broker.kill()
        broker.damage_store(b'"subject":"p5"')
        await create(service, 20)
        broker.restart()
        assert await is_complete_again(service)
        await eventually(lambda: knows_prices(listener, 21))


async def test_damaged_event_in_the_middle_is_replaced(
    shop_settings: ShopSettings, broker: NatsServer
):
    """After a clean restart the broker still counts the damaged event: only reading it shows that it is lost."""
    async with serving(shop_settings) as service:
        await create(service, *range(20))
        assert await is_complete_again(service)
        await eventually(lambda: is_compared(service))
        before = service.broker.server_id
        broker.terminate()
        broker.damage_store(b'"subject":"p5"')
        broker.restart()
        await eventually(lambda: is_compared(service, after=before), RECONNECT_SECONDS)
        assert await is_complete_again(service)
        stored = await ids_in_stream(service)
        resent = [
            row["position"] for row in await rows_of(service.reads, EVENT_LOG) if row["resends"]
        ]
        assert resent == [6, 20]
        assert stored.total() == 20 + 1


async def test_loss_is_reported_until_it_is_repaired(
    shop_settings: ShopSettings, broker: NatsServer
):
    async with serving(shop_settings) as service:
        await create(service, 1, 2)
        assert await is_complete_again(service)
        stream = service.broker.jetstream()
        config = (await stream.stream_info(STREAM)).config
        await stream.delete_stream(STREAM)
        # Its provisioner's limits are not corrected by services.
        await stream.add_stream(config.evolve(max_bytes=1, metadata=stream_config.PROVISIONER))
        await eventually(lambda: "to get 2 events again" in str(service.waiting_for()), 20)
        await stream.update_stream(config.evolve(metadata=stream_config.PROVISIONER))
        assert await is_complete_again(service)


async def test_undisturbed_stream_is_not_read_again(
    shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resync, "CHECK_SECONDS", 0.05)
    async with serving(shop_settings) as service:
        await create(service, 1)
        assert await is_complete_again(service)
        await eventually(lambda: is_compared(service))
        first = await service.reads.run(stream_audit.read)
        await asyncio.sleep(0.3)
    async with serving(shop_settings) as service:
        assert await is_complete_again(service)
        assert await service.reads.run(stream_audit.read) == first
        assert set((await ids_in_stream(service)).values()) == {1}


async def test_loss_without_interruption_is_noticed(
    shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resync, "CHECK_SECONDS", 0.05)
    async with serving(shop_settings) as service:
        await create(service, 1, 2)
        for price in (1, 2):
            description = Description(name="Keyboard", description="x", price=price)
            command = UpdateProduct(product_id="p1", description=description)
            await service.writer.execute(CommandEnvelope(command))
        assert await is_complete_again(service)
        await eventually(lambda: is_compared(service))
        stream = service.broker.jetstream()
        config = (await stream.stream_info(STREAM)).config
        # Removes the first of the two events with the same subject.
        await stream.update_stream(config.evolve(max_msgs_per_subject=1))
        await stream.update_stream(config)
        assert await is_complete_again(service)
        rows = await rows_of(service.reads, EVENT_LOG)
        assert [row["resends"] for row in rows] == [0, 0, 1, 1]


async def test_event_sent_again_alone_is_no_loss(shop_settings: ShopSettings):
    """It is the stream's last of the service then, and those after it in the log are not lost."""
    async with serving(shop_settings) as service:
        await create(service, 1, 2, 3)
        assert await is_complete_again(service)
        await service.writer.run_in_transaction(partial(event_log.resend, positions=[1]))
        service.relay.wake()
        assert await is_complete_again(service)
    async with serving(shop_settings) as service:
        assert await is_complete_again(service)
        rows = await rows_of(service.reads, EVENT_LOG)
        assert [row["resends"] for row in rows] == [1, 0, 0]


async def test_stream_is_read_again_once_a_day(
    shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch
):
    async with serving(shop_settings) as service:
        await create(service, 1)
        await eventually(lambda: is_compared(service))
        first = await service.reads.run(stream_audit.read)
    monkeypatch.setattr(resync, "AUDIT_INTERVAL", timedelta(0))
    async with serving(shop_settings) as service:

        async def is_newer() -> bool:
            return await service.reads.run(stream_audit.read) != first

        await eventually(is_newer)
        assert set((await ids_in_stream(service)).values()) == {1}


async def test_expired_events_are_not_published_again(
    shop_settings: ShopSettings, broker: NatsServer
):
    settings = replace(shop_settings, stream_max_age_seconds=DAY)
    async with serving(settings) as service:
        await create(service, *range(10))
        assert await is_complete_again(service)
        await service.writer.run_in_transaction(_record_four_days_ago)
        before = service.broker.server_id
        broker.wipe()
        broker.restart()
        await eventually(lambda: is_compared(service, after=before), RECONNECT_SECONDS)
        rows = await rows_of(service.reads, EVENT_LOG)
        assert [row["resends"] for row in rows] == [0] * 4 + [1] * 6


def _record_four_days_ago(connection: Connection) -> None:
    earlier = clock.now() - timedelta(days=4)
    first = EVENT_LOG.c.position <= bindparam("last")
    connection.execute(update(EVENT_LOG).where(first).values(recorded_at=earlier), {"last": 4})


async def test_services_create_one_stream_together(shop_settings: ShopSettings):
    clients = [Publisher(f"client{number}", shop_settings) for number in range(5)]
    await asyncio.gather(*(client.connect() for client in clients))
    await asyncio.gather(*(client.streams.ensure() for client in clients))
    epochs = {(await client.streams.state()).epoch for client in clients}
    config = (await clients[0].jetstream().stream_info(STREAM)).config
    assert epochs == {(config.metadata or {})["epoch"]}
    for client in clients:
        await client.close()


async def test_newest_events_need_no_audit_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The users of an earlier release: the service works, and notices a lost end of the stream, but not a lost middle."""
    users = [
        user._replace(publish=tuple(name for name in user.publish if "-audit" not in name))
        for user in USERS
    ]
    monkeypatch.setattr(nats_config, "USERS", users)
    server = NatsServer(tmp_path / "nats", has_users=True)
    server.start()
    try:
        await provision.maintain_stream(
            settings_for(tmp_path, server.url_of(PROVISIONER)), once=True
        )
        async with serving(settings_for(tmp_path, server.url_of("inventory"))) as service:
            await create(service, 1)
            assert await is_complete_again(service)
            server.terminate()
            server.copy_store(tmp_path / "copy")
            server.restart()
            await create(service, 2, 3)
            assert await is_complete_again(service)
            server.put_back(tmp_path / "copy")
            server.restart()
            assert await is_complete_again(service)
            await eventually(lambda: "cannot be checked" in str(service.warnings()), 20)
            assert service.waiting_for() == []
    finally:
        server.terminate()
