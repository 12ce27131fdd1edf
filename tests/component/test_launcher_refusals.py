"""What `quadrille up` refuses before it starts anything: one sentence that names what to change."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from quadrille.cli.main import main
from shared.chassis.errors import REFUSED
from shared.settings import ShopSettings
from tests.support.settings import environment_of, settings_for

OWN_BROKER_AND_MAILBOX = ("QUADRILLE_NATS_URL", "QUADRILLE_SMTP_URL")


@pytest.fixture
def settings(tmp_path: Path) -> ShopSettings:
    return settings_for(tmp_path / "data", "")


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def refusal(settings: ShopSettings, **environment: str) -> str:
    given = environment_of(settings) | environment
    without = dict.fromkeys(OWN_BROKER_AND_MAILBOX)
    result = CliRunner().invoke(main, ["up"], env=given | without)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    return result.output


def test_port_given_twice_is_refused(settings: ShopSettings):
    error = refusal(settings, QUADRILLE_READ_API_PORT=str(settings.order_port))
    assert "QUADRILLE_READ_API_PORT and QUADRILLE_ORDER_PORT" in error


def test_data_directory_that_is_a_file_is_refused(settings: ShopSettings):
    settings.data_dir.write_text("a file in its place")
    error = refusal(settings)
    assert str(settings.data_dir) in error
    assert "QUADRILLE_DATA_DIR" in error


def test_data_directory_is_closed_to_others(settings: ShopSettings):
    (settings.data_dir / "logs").mkdir(parents=True, mode=0o755)
    refusal(settings, QUADRILLE_HOST="192.0.2.1")
    for part in ("logs", "nats", "mailbox"):
        assert stat.S_IMODE((settings.data_dir / part).stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("QUADRILLE_ORDERPORT", "1", "did you mean QUADRILLE_ORDER_PORT?"),
        ("QUADRILLE_ORDER_PORT", "many", "QUADRILLE_ORDER_PORT"),
        ("QUADRILLE_DATABASE_URL", "sqlite+aiosqlite:///x.db", "QUADRILLE_DATABASE_URL"),
        ("QUADRILLE_HOST", "192.0.2.1", "QUADRILLE_HOST"),
    ],
)
def test_wrong_setting_is_named(settings: ShopSettings, name: str, value: str, words: str):
    assert words in refusal(settings, **{name: value})


@pytest.mark.parametrize("command", ["orders", "status"])
def test_impossible_host_is_misuse(command: str):
    result = CliRunner().invoke(main, [command], env={"QUADRILLE_HOST": "999.1.1.1"})
    assert (result.exit_code, result.stderr.startswith("Error: QUADRILLE_HOST: ")) == (2, True)


@pytest.mark.parametrize("command", ["down", "logs", "reset"])
def test_file_as_data_directory_is_no_shop(tmp_path: Path, command: str):
    (tmp_path / "file").touch()
    environment = {"QUADRILLE_DATA_DIR": str(tmp_path / "file")}
    result = CliRunner().invoke(main, [command], env=environment)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert str(tmp_path / "file") in result.output


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATA_DIR", __file__),
        ("DATA_DIR", f"{__file__}/data"),
        ("HOST", "no address"),
        ("FAILPOINT", "nowhere"),
    ],
)
def test_service_names_the_refused_setting(settings: ShopSettings, name: str, value: str):
    environment = {"QUADRILLE_DATA_DIR": str(settings.data_dir), f"QUADRILLE_{name}": value}
    refused = subprocess.run(
        [sys.executable, "-m", "inventory_service"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == REFUSED
    assert refused.stderr.startswith(f"inventory_service: QUADRILLE_{name}: ")
    assert refused.stderr.count("\n") == 1
