"""What compose.yaml repeats of the settings is what they are."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.config import PREFIX, Settings

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
PORTS = {name for name in Settings.__struct_fields__ if name.endswith("_port")}
NOT_PUBLISHED = {"mailbox_smtp_port"}
SET_BY_THE_IMAGE = {"data_dir", "host"}
OF_ONE_PROCESS = {"database_url", "crash_at"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def test_every_setting_of_the_shop_reaches_its_services(compose: dict[str, Any]):
    passed = {name.removeprefix(PREFIX).lower() for name in compose["x-settings"]}
    assert passed == {*Settings.__struct_fields__} - PORTS - SET_BY_THE_IMAGE - OF_ONE_PROCESS


def test_ports_are_published_on_the_loopback_at_their_usual_numbers(compose: dict[str, Any]):
    published = [port for each in compose["services"].values() for port in each.get("ports", [])]
    usual = {name: getattr(Settings(), name) for name in PORTS - NOT_PUBLISHED}
    assert sorted(published) == sorted(
        f"127.0.0.1:${{{PREFIX}{name.upper()}:-{port}}}:{port}" for name, port in usual.items()
    )
