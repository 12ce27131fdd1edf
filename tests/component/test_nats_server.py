"""The launcher's broker is restarted when it stores nothing any more, and only then."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from inventory_service.domain import CreateProduct, Description
from quadrille.cli import provision
from quadrille.launcher import nats_config, nats_server, restarts
from quadrille.launcher.nats_config import Server
from quadrille.launcher.nats_users import PROVISIONER
from quadrille.launcher.restarts import ProcessGivenUp
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.runtime.service import Service
from shared.chassis.storage.event_log import EVENT_LOG
from tests.support.broker import refuse_writes
from tests.support.chassis import rows_of, serving
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.settings import settings_for


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_server, "HEALTH_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(nats_server, "MIN_UNHEALTHY_SECONDS", 0.3)
    monkeypatch.setattr(restarts, "FIRST_PAUSE_SECONDS", 0.05)


class Watched(NamedTuple):
    """A service at a broker that the launcher watches."""

    service: Service
    watching: asyncio.Task[None]
    configuration: Path

    @property
    def pids(self) -> set[int]:
        """Of the broker's processes: one, or none while it is restarted; other tests may have brokers too."""
        children = psutil.Process().children()
        return {child.pid for child in children if str(self.configuration) in child.cmdline()}

    async def create(self, product_id: str) -> None:
        described = Description(name="Keyboard", description="", price=1)
        command = CreateProduct(product_id=product_id, description=described, stock=0)
        await self.service.writer.execute(CommandEnvelope(command))

    async def is_all_published(self) -> bool:
        return all(row["stream_seq"] for row in await rows_of(self.service.reads, EVENT_LOG))


@asynccontextmanager
async def watched(directory: Path) -> AsyncIterator[Watched]:
    port, users = free_port(), directory / "users"
    address = f"127.0.0.1:{port}"
    store = str(directory / "store")
    server = Server(address, store, address, monitoring="127.0.0.1:-1", ports=str(users))
    urls = nats_config.write(users, server)
    (directory / "logs").mkdir()
    log = directory / "logs" / "nats-server.log"
    async with nats_server.running_broker(port, users, log, {}) as broker:
        watching = asyncio.create_task(broker.watch())
        await provision.maintain_stream(settings_for(directory, urls[PROVISIONER]), once=True)
        async with serving(settings_for(directory, urls["inventory"])) as service:
            yield Watched(service, watching, users / nats_config.CONFIG)
        watching.cancel()
        await asyncio.wait([watching])


async def test_broker_after_full_disk_is_restarted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async with watched(tmp_path) as shop:
        await shop.create("p1")
        await eventually(shop.is_all_published)
        (before,) = shop.pids
        refuse_writes(before)
        await shop.create("p2")
        await eventually(lambda: shop.pids - {before}, within_seconds=20)
        await eventually(shop.is_all_published, within_seconds=20)
        await eventually(lambda: shop.service.waiting_for() == [], within_seconds=20)
    assert "file too large. It is restarted" in " ".join(capsys.readouterr().out.split())


async def test_healthy_broker_is_left_alone(tmp_path: Path):
    async with watched(tmp_path) as shop:
        (before,) = shop.pids
        os.kill(before, signal.SIGSTOP)  # one that does not answer, too
        await asyncio.sleep(0.6)
        os.kill(before, signal.SIGCONT)
        await asyncio.sleep(0.6)
        assert shop.pids == {before}
        assert not shop.watching.done()


async def test_killed_broker_is_started_again(tmp_path: Path):
    async with watched(tmp_path) as shop:
        await shop.create("p1")
        (pid,) = shop.pids
        os.kill(pid, signal.SIGKILL)
        await shop.create("p2")
        await eventually(lambda: shop.pids - {pid}, within_seconds=20)
        await eventually(shop.is_all_published, within_seconds=20)


async def test_broker_that_cannot_start_is_given_up(tmp_path: Path):
    async with watched(tmp_path) as shop:
        (pid,) = shop.pids
        shop.configuration.write_text("no configuration of a NATS server")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ProcessGivenUp, match=nats_server.NAME):
            await asyncio.wait_for(shop.watching, timeout=20)
    assert "Parse error on line 1" in (tmp_path / "logs" / "nats-server.log").read_text()
