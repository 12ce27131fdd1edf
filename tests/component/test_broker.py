"""A service and its broker: how it reports a bad one and corrects a changed stream."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from nats.js import api
from structlog.testing import capture_logs

from shared.chassis.jetstream import consumer
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.messages.subjects import STREAM
from shared.chassis.runtime.service import Service
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import Publisher, publishing, serving
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.settings import environment_of, settings_for
from tests.support.shop_processes import ROOT
from tests.support.tcp_proxy import tcp_proxy

DAY = 86_400
MAXIMUM_SUBSCRIPTIONS = b"-ERR 'maximum subscriptions exceeded'\r\n"


@pytest.fixture
async def elsewhere(shop_settings: ShopSettings) -> AsyncIterator[Publisher]:
    async with publishing(shop_settings) as broker:
        yield broker


@pytest.fixture
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("CHECK_SECONDS", "FETCH_SECONDS"):
        monkeypatch.setattr(consumer, pause, 0.1)


def reasons_of(service: Service) -> str:
    return "; ".join(service.waiting_for())


async def is_ready(service: Service) -> bool:
    assert service.waiting_for() == []
    return True


async def test_absent_broker_is_named_without_credentials(tmp_path: Path):
    port = free_port()
    settings = settings_for(tmp_path, f"nats://order:secret@127.0.0.1:{port}")
    with capture_logs() as logs:
        async with serving(settings) as service:
            sentence = f"no broker at nats://127.0.0.1:{port} (connection refused)"
            await eventually(lambda: reasons_of(service) == sentence)
            await asyncio.sleep(0.6)  # more attempts to connect
    warnings = [line for line in logs if line["event"] == "broker.error"]
    assert [line["reason"] for line in warnings] == [sentence]
    assert "secret" not in str(logs)


async def test_permanently_closed_connection_ends_process(tmp_path: Path, broker: NatsServer):
    log = tmp_path / "inventory.log"
    async with tcp_proxy(broker.port) as proxy:
        settings = settings_for(tmp_path / "data", proxy.url)
        process = started(settings, log)
        try:
            async with publishing(settings_for(tmp_path, broker.url)) as other:
                await eventually(lambda: has_consumer(other), within_seconds=30)
            proxy.send(MAXIMUM_SUBSCRIPTIONS)
            code = await asyncio.to_thread(process.wait, 30)
        finally:
            process.kill()
            process.wait()
    assert code == 1
    (line,) = re.findall(r".*service\.failed.*", log.read_text())
    assert "maximum subscriptions exceeded" in line
    assert "Traceback" not in log.read_text()


def started(settings: ShopSettings, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "inventory_service"],
            cwd=ROOT,
            env=environment_of(settings),
            stdout=output,
            stderr=output,
        )


async def has_consumer(broker: JetStreamConnection) -> bool:
    return bool(await broker.jetstream().consumers_info(STREAM))


async def test_older_broker_is_served_without_reset(
    tmp_path: Path, broker: NatsServer, elsewhere: Publisher
):
    async with tcp_proxy(broker.port) as proxy:
        proxy.rewrite = lambda data: data.replace(b'"version":"2.15.1"', b'"version":"2.12.8"')
        settings = settings_for(tmp_path, proxy.url)
        async with serving(settings) as service:
            await eventually(lambda: is_ready(service))
        stream = elsewhere.jetstream()
        greedy = await stream.pull_subscribe_bind(consumer="inventory", stream=STREAM)
        await stream.publish("shop.order.o1.order_created", b"{}")
        await greedy.fetch(1)
        with capture_logs() as logs:
            async with serving(settings) as service:
                await eventually(lambda: is_ready(service))
        (warning,) = [line for line in logs if line["event"] == "broker.too_old"]
        assert warning["version"] == "2.12.8"
        pending = await stream.consumer_info(STREAM, "inventory")
        assert pending.num_ack_pending == 1


@pytest.mark.usefixtures("looking_often")
async def test_paused_consumer_is_not_ready(shop_settings: ShopSettings, elsewhere: Publisher):
    async with serving(shop_settings) as service:
        await eventually(lambda: is_ready(service))
        stream = elsewhere.jetstream()
        await stream.pause_consumer(STREAM, "inventory", "2100-01-01T00:00:00Z")
        await eventually(lambda: "its consumer is paused" in reasons_of(service))
        await stream.resume_consumer(STREAM, "inventory")
        await eventually(lambda: is_ready(service))


@pytest.mark.usefixtures("looking_often")
async def test_changed_stream_is_corrected(shop_settings: ShopSettings, elsewhere: Publisher):
    stream = elsewhere.jetstream()
    current = (await stream.stream_info(STREAM)).config
    await stream.update_stream(current.evolve(subjects=["elsewhere.>"], max_msgs=1))
    async with serving(shop_settings) as service:
        await eventually(lambda: is_ready(service))
        await stream.update_stream(current.evolve(subjects=["elsewhere.>"], max_msgs=1))
        await eventually(lambda: has_right_subjects(elsewhere))
    config = (await stream.stream_info(STREAM)).config
    assert (config.subjects, config.max_msgs, config.deny_purge) == (["shop.>"], -1, True)


async def has_right_subjects(broker: JetStreamConnection) -> bool:
    config = (await broker.jetstream().stream_info(STREAM)).config
    return config.subjects == ["shop.>"]


async def test_stream_in_memory_is_reported(shop_settings: ShopSettings, broker: NatsServer):
    other = JetStreamConnection("test", shop_settings)
    await other.connect()
    memory = api.StreamConfig(name=STREAM, subjects=["shop.>"], storage=api.StorageType.MEMORY)
    await other.jetstream().add_stream(memory)
    async with serving(shop_settings) as service:
        await eventually(lambda: "has storage memory, not file" in reasons_of(service))
    await other.close()


async def test_provisioned_limits_are_left_to_provisioner(shop_settings: ShopSettings):
    provisioner = Publisher("provisioner", replace(shop_settings, stream_max_age_seconds=DAY))
    await provisioner.connect()
    assert await provisioner.streams.ensure(provisions=True) == []
    async with serving(shop_settings) as service:
        await eventually(lambda: is_ready(service))
    config = (await provisioner.jetstream().stream_info(STREAM)).config
    assert config.max_age == DAY
    await provisioner.close()


async def test_provisioner_takes_over_stream_of_service(
    shop_settings: ShopSettings, elsewhere: Publisher
):
    provisioner = Publisher("provisioner", replace(shop_settings, stream_max_age_seconds=DAY))
    await provisioner.connect()
    assert await provisioner.streams.ensure(provisions=True) == []
    assert await elsewhere.streams.ensure() == []
    config = (await provisioner.jetstream().stream_info(STREAM)).config
    assert config.max_age == DAY
    await provisioner.close()
