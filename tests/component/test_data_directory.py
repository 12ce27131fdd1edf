"""Where an installed `quadrille` and the services keep the data, without a checkout."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.support.shop_processes import MODULES, ROOT

SETTINGS = "from shared.settings import load; print(load().data_dir.absolute())"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's directory with the packages as pip installs them: nothing of the checkout beside them."""
    site = tmp_path / "site-packages"
    site.mkdir()
    for package in ("quadrille", "shared", *MODULES.values()):
        (site / package).symlink_to(ROOT / package)
    return tmp_path


def run(home: Path, *arguments: str, **environment: str) -> str:
    own = {
        "PATH": os.defpath,
        "HOME": str(home),
        "PYTHONPATH": str(home / "site-packages"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=home, env=own | environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def data_dir(home: Path, **environment: str) -> Path:
    """That of a command."""
    output = run(home, "-m", "quadrille", "down", "--json", **environment)
    return Path(msgspec.json.decode(output)["dataDir"])


def test_installed_shop_uses_the_users_directory(home: Path):
    assert data_dir(home) == home / ".local" / "share" / "quadrille"
    assert data_dir(home, XDG_DATA_HOME=str(home / "xdg")) == home / "xdg" / "quadrille"
    assert run(home, "-c", SETTINGS, XDG_DATA_HOME=str(home / "xdg")) == f"{home}/xdg/quadrille"


def test_relative_data_home_is_ignored(home: Path):
    assert data_dir(home, XDG_DATA_HOME="xdg") == home / ".local" / "share" / "quadrille"


def test_data_of_earlier_release_stays_in_use(home: Path):
    (home / "data").mkdir()
    assert data_dir(home) == home / ".local" / "share" / "quadrille"
    (home / "data" / "order.db").touch()
    assert data_dir(home) == home / "data"


def test_setting_decides_where_data_is(home: Path):
    (home / "data").mkdir()
    (home / "data" / "order.db").touch()
    assert data_dir(home, QUADRILLE_DATA_DIR=str(home / "mine")) == home / "mine"


def test_checkout_uses_its_own_directory(home: Path):
    (home / "site-packages" / "pyproject.toml").touch()
    assert data_dir(home) == home / "data"
