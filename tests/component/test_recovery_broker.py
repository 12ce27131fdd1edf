"""The broker that a command starts for itself while the shop does not run."""

from pathlib import Path

from quadrille.data_directory import BROKER_STORE, BROKER_USERS, LOGS
from quadrille.launcher import nats_config, nats_server
from quadrille.launcher.nats_config import Server
from quadrille.recovery.broker import settings_with_broker
from quadrille.recovery.event_sources import connected
from shared.settings import ShopSettings
from tests.support.ports import free_port


async def test_command_starts_the_broker_of_its_directory(tmp_path: Path):
    port = free_port()
    address = f"127.0.0.1:{port}"
    (tmp_path / LOGS).mkdir()
    nats_config.write(
        tmp_path / BROKER_USERS, Server(address, str(tmp_path / BROKER_STORE), address)
    )

    async with (
        settings_with_broker("order", ShopSettings(data_dir=tmp_path)) as settings,
        connected("order", settings) as broker,
    ):
        assert broker.is_connected
    assert not await nats_server.is_listening(port)
