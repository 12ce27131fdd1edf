"""What compose.yaml repeats of the settings and the broker's users is what they are."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from quadrille.cli.main import main
from quadrille.endpoints import SERVICES
from quadrille.launcher.nats_users import PROVISIONER, USERS, VIEWER
from shared.chassis.settings import FILE, PREFIX
from shared.settings import ShopSettings

ROOT = Path(__file__).parents[2]
PORTS = {name for name in ShopSettings.__struct_fields__ if name.endswith("_port")}
NOT_PUBLISHED = {"mailbox_smtp_port"}
SET_BY_THE_IMAGE = {"data_dir", "host"}
OF_ONE_PROCESS = {"database_url", "failpoint"}
SECRETS_OF = {
    "order": {"nats_url_file", "admin_password_file"},
    "inventory": {"nats_url_file"},
    "shipping": {"nats_url_file", "carrier_secret_file"},
    "notifier": {"nats_url_file", "smtp_url_file"},
    "read": {"nats_url_file"},
    "provision": {"nats_url_file"},
    "catalogue": {"admin_password_file"},
    "check": set(),
    "backup": set(),
    "nats": set(),
    "mailpit": set(),
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `make secrets` writes."""
    directory = tmp_path_factory.mktemp("deploy") / "secrets"
    done = CliRunner().invoke(main, ["nats-config", str(directory), "--for-compose"])
    assert done.exit_code == 0, done.output
    return directory


def settings_of(service: dict[str, Any]) -> set[str]:
    names = service.get("environment") or {}
    return {name.removeprefix(PREFIX).lower() for name in names if name.startswith(PREFIX)}


def test_every_setting_reaches_its_services(compose: dict[str, Any]):
    passed = {name.removeprefix(PREFIX).lower() for name in compose["x-settings"]}
    passed |= {name for names in SECRETS_OF.values() for name in names}
    given = {name.removesuffix(FILE) for name in passed}
    assert given == {*ShopSettings.__struct_fields__} - PORTS - SET_BY_THE_IMAGE - OF_ONE_PROCESS


def test_secrets_reach_only_services_that_need_them(compose: dict[str, Any]):
    secrets = {*ShopSettings.SECRETS, *(name + FILE for name in ShopSettings.SECRETS)}
    given = {name: settings_of(service) & secrets for name, service in compose["services"].items()}
    assert given == SECRETS_OF


def test_each_secret_is_mounted_where_it_is_read(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        read = {value for value in (service.get("environment") or {}).values() if value}
        files = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        assert {value for value in read if value.startswith("/run/secrets/")} == files - {
            "/run/secrets/nats_conf"
        }, name


def test_each_service_has_its_own_broker_user(compose: dict[str, Any]):
    users = {name: name for name in SERVICES} | {"provision": PROVISIONER}
    for name, user in users.items():
        service = compose["services"][name]
        assert f"{user}_url" in service["secrets"]
        assert service["environment"]["QUADRILLE_NATS_URL_FILE"] == f"/run/secrets/{user}_url"


def test_secret_files_match_written_files(compose: dict[str, Any], deploy: Path):
    named = {Path(secret["file"]).name for secret in compose["secrets"].values()}
    assert {file.name for file in deploy.iterdir()} == named | {f"{VIEWER}.url"}
    assert deploy.stat().st_mode & 0o777 == 0o700
    for secret in compose["secrets"].values():
        assert Path(secret["file"]).parent == Path("deploy/secrets")
    for user in USERS:
        where = "127.0.0.1" if user.name == VIEWER else "nats"
        url = (deploy / f"{user.name}.url").read_text()
        assert url.startswith(f"nats://{user.name}:")
        assert url.endswith(f"@{where}:4222\n")


def test_existing_secrets_are_kept(deploy: Path):
    password = (deploy / "admin_password").read_text()
    arguments = ["nats-config", str(deploy), "--for-compose"]
    given = {f"{PREFIX}CARRIER_SECRET": "the carrier's own secret"}
    assert CliRunner(env=given).invoke(main, arguments).exit_code == 0
    assert (deploy / "admin_password").read_text() == password
    assert (deploy / "carrier_secret").read_text() == "the carrier's own secret\n"
    assert (deploy / "smtp_url").read_text() == "smtp://mailpit:1025\n"


def test_health_check_knows_the_ports():
    module = runpy.run_path(str(ROOT / "deploy" / "healthcheck.py"))
    assert dict(module["PORTS"].values()) == {
        f"{PREFIX}{name}_PORT".upper(): getattr(ShopSettings(), f"{name}_port")
        for name in ("order", "inventory", "shipping", "notifier", "read_api")
    }


def test_written_files_are_never_committed():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", "deploy/secrets/"} <= {*ignored}
    assert "deploy/secrets/" in (ROOT / ".dockerignore").read_text().splitlines()


def test_ports_are_published_on_loopback(compose: dict[str, Any]):
    published = [
        port for service in compose["services"].values() for port in service.get("ports", [])
    ]
    usual = {name: getattr(ShopSettings(), name) for name in PORTS - NOT_PUBLISHED}
    assert sorted(published) == sorted(
        f"127.0.0.1:${{{PREFIX}{name.upper()}:-{port}}}:{port}" for name, port in usual.items()
    )
