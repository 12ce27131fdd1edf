"""`quadrille backup` copies databases that are in use, and `quadrille restore` puts them back."""

import asyncio
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from quadrille.cli.main import main
from shared import VERSION
from shared.chassis.errors import REFUSED
from shared.chassis.storage import database_identity
from shared.chassis.storage.database import database_url
from shared.chassis.storage.database_identity import FORMAT
from shared.settings import ShopSettings
from tests.support.damage import damage
from tests.support.earlier_release import SERVICES, unpack_all
from tests.support.order_client import open_order_service
from tests.support.process import service_process
from tests.support.settings import environment_of, settings_for

NO_BROKER = "nats://127.0.0.1:1"
EMAIL = "jane@example.com"


async def quadrille(settings: ShopSettings, *arguments: object) -> Result:
    """In another thread, because the command starts its own event loop."""
    environment = environment_of(settings)
    return await asyncio.to_thread(
        CliRunner().invoke, main, [str(argument) for argument in arguments], env=environment
    )


def query(file: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(statement).fetchall()


def modes(directory: Path) -> dict[str, int]:
    """Of the directory and the files in it, by name."""
    return {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.iterdir())
    }


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of an order service with one customer, and a backup that was made while it ran."""
    directory = tmp_path_factory.mktemp("original")
    settings = settings_for(directory / "data", NO_BROKER)

    async def run() -> None:
        async with open_order_service(settings) as client:
            await client.register(EMAIL)
            await client.sign_in(EMAIL)
            result = await quadrille(settings, "backup", directory / "backup")
            assert result.exit_code == 0, result.output

    asyncio.run(run())
    return directory


@pytest.fixture
def settings(original: Path, tmp_path: Path) -> ShopSettings:
    """Of a copy of that data."""
    shutil.copytree(original / "data", tmp_path / "data")
    return settings_for(tmp_path / "data", NO_BROKER)


@pytest.fixture
def backup(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original / "backup", tmp_path / "backup")


async def test_backup_of_running_service_is_complete(settings: ShopSettings, backup: Path):
    copy, manifest = backup / "order.db", backup / "manifest.json"
    assert modes(backup) == {backup.name: 0o700, copy.name: 0o600, manifest.name: 0o600}
    document = msgspec.json.decode(manifest.read_bytes())
    [[last]] = query(copy, "SELECT max(position) FROM event_log")
    [[database_id]] = query(copy, "SELECT database_id FROM database_identity")
    [entry] = document["databases"]
    assert document["release"] == VERSION
    assert (entry["service"], entry["format"], entry["databaseId"]) == (
        "order",
        FORMAT,
        database_id,
    )
    assert entry["positions"] == {"order": last}
    assert query(copy, "SELECT count(*) FROM customers WHERE email = 'jane@example.com'") == [(1,)]
    verified = await quadrille(settings, "backup", backup, "--verify")
    assert verified.exit_code == 0, verified.output


async def test_changed_copy_fails_verification(settings: ShopSettings, backup: Path):
    damage(backup / "order.db", "orders")
    for command in (("backup", backup, "--verify"), ("restore", backup, "--force")):
        result = await quadrille(settings, *command)
        assert result.exit_code == 1
        assert "order.db is not as it was copied" in result.output


async def test_incomplete_backup_is_not_restored(settings: ShopSettings, backup: Path):
    (backup / "manifest.json").unlink()
    result = await quadrille(settings, "restore", backup, "--force")
    assert result.exit_code == 1
    assert "is no complete backup" in result.output


async def test_backup_overwrites_no_backup(settings: ShopSettings, backup: Path):
    result = await quadrille(settings, "backup", backup)
    assert result.exit_code == 1
    assert "is not empty" in result.output


async def test_backup_of_damaged_database_fails(settings: ShopSettings, tmp_path: Path):
    damage(settings.data_dir / "order.db", "orders")
    result = await quadrille(settings, "backup", tmp_path / "new")
    assert result.exit_code == 1
    assert "order.db" in result.output
    assert not (tmp_path / "new" / "manifest.json").exists()


async def test_backup_contains_all_databases_of_shop(settings: ShopSettings, tmp_path: Path):
    unpack_all(settings.data_dir)
    result = await quadrille(settings, "backup", tmp_path / "new", "--json")
    assert result.exit_code == 0, result.output
    databases = msgspec.json.decode(result.stdout)["databases"]
    assert {entry["service"] for entry in databases} == set(SERVICES)
    assert databases[-1]["service"] == "read"
    assert databases[-1]["positions"] == {
        service: position for entry in databases for service, position in entry["positions"].items()
    }


async def test_restore_over_running_service_is_refused(settings: ShopSettings, backup: Path):
    with database_identity.lock(make_url(database_url("order", settings))):
        result = await quadrille(settings, "restore", backup, "--force")
    assert result.exit_code == 1
    assert "another process uses" in result.output
    assert not list(settings.data_dir.glob("replaced-*"))


async def test_restore_replaces_only_with_force(settings: ShopSettings, backup: Path):
    file = settings.data_dir / "order.db"
    before = query(file, "SELECT count(*) FROM event_log")
    result = await quadrille(settings, "restore", backup)
    assert result.exit_code == 1
    assert "exists: --force replaces it and keeps it aside" in result.output
    result = await quadrille(settings, "restore", backup, "order", "--force")
    assert result.exit_code == 0, result.output
    assert "quadrille reconcile order" in result.output
    [replaced] = settings.data_dir.glob("replaced-*/order.db")
    assert query(replaced, "SELECT count(*) FROM event_log") == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_restored_database_has_new_id_without_sessions(settings: ShopSettings, backup: Path):
    result = await quadrille(settings, "restore", backup, "--force")
    assert result.exit_code == 0, result.output
    file = settings.data_dir / "order.db"
    identity = "SELECT database_id FROM database_identity"
    assert query(file, identity) != query(backup / "order.db", identity)
    assert query(backup / "order.db", "SELECT count(*) FROM sessions") == [(1,)]
    assert query(file, "SELECT count(*) FROM sessions") == [(0,)]


async def test_restored_service_does_not_start_unreconciled(settings: ShopSettings, backup: Path):
    """It would execute tasks that were done since the copy, before it learns that the stream is ahead of its log."""
    result = await quadrille(settings, "restore", backup, "--force")
    assert result.exit_code == 0, result.output
    with service_process("order", settings) as refused:
        code, output = refused.ended()
    assert code == REFUSED
    assert "first fetch the later events of its service back with: quadrille reconcile" in output


async def test_lost_file_is_restored_without_force(settings: ShopSettings, backup: Path):
    for file in settings.data_dir.glob("order.db*"):
        file.unlink()
    result = await quadrille(settings, "restore", backup)
    assert result.exit_code == 0, result.output
    assert not list(settings.data_dir.glob("replaced-*"))
    assert query(settings.data_dir / "order.db", "SELECT email FROM customers") != []
