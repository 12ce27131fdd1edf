"""`quadrille reset` deletes what the shop has made, and nothing else."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from quadrille.cli.main import main
from quadrille.launcher import nats_config
from quadrille.launcher.nats_config import Server
from quadrille.mailbox.storage import MailStorage
from shared.settings import ShopSettings
from tests.support.chassis import serving
from tests.support.settings import settings_for

FOREIGN = ("notes.txt", "order.db.bak", "backup/order.db", "replaced-20261121T000000Z/order.db")
LOCKS = ("up.lock", "order.db.lock")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """With the files of a shop, and others."""
    directory = tmp_path / "data"
    asyncio.run(_make_database(settings_for(directory, "nats://127.0.0.1:1")))
    nats_config.write(directory / "nats-users", Server("", "", ""))
    MailStorage(directory / "mailbox")
    for name in ("inventory.rebuild.db", "nats/stream", "logs/order.log", "admin-password", *LOCKS):
        _write(directory / name)
    for name in FOREIGN:
        _write(directory / name)
    return directory


async def _make_database(settings: ShopSettings) -> None:
    async with serving(settings):
        pass


def _write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("text")


def reset(data_dir: Path, *options: str, typed: str = "") -> Result:
    environment = {"QUADRILLE_DATA_DIR": str(data_dir)}
    return CliRunner().invoke(main, ["reset", *options], input=typed, env=environment)


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_reset_deletes_only_what_is_the_shops(data_dir: Path):
    assert "inventory.db" in files(data_dir)
    result = reset(data_dir, typed="y\n")
    assert result.exit_code == 0, result.output
    assert f"accounts, mails and logs in {data_dir}? [y/N]" in result.output
    assert files(data_dir) == set(FOREIGN)
    assert "Left in" in result.output
    assert "no data of a shop" in reset(data_dir).output


@pytest.mark.parametrize("answer", ["\n", "n\n", ""])
def test_unconfirmed_reset_deletes_nothing(data_dir: Path, answer: str):
    before = files(data_dir)
    assert reset(data_dir, typed=answer).exit_code == 1
    assert files(data_dir) == before


@pytest.mark.parametrize("lock", LOCKS)
def test_reset_of_data_in_use_is_refused(data_dir: Path, lock: str):
    before = files(data_dir)
    with FileLock(data_dir / lock):
        result = reset(data_dir, "--yes")
    assert result.exit_code == 1
    assert "stop them first (quadrille down)" in result.output
    assert files(data_dir) == before


def test_linked_directory_is_unlinked_not_emptied(data_dir: Path, tmp_path: Path):
    (data_dir / "logs").rename(tmp_path / "elsewhere")
    (data_dir / "logs").symlink_to(tmp_path / "elsewhere")
    result = reset(data_dir, "--yes", "--json")
    document = msgspec.json.decode(result.stdout)
    assert "logs" in document["deleted"]
    assert sorted(document["left"]) == sorted({name.split("/")[0] for name in FOREIGN})
    assert (tmp_path / "elsewhere" / "order.log").exists()
