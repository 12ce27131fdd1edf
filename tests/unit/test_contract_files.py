"""The published contracts: valid for their standards, complete, in the package, and compared with the code."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from shutil import copytree
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import read_api
from shared.chassis.messages.event import Event
from shared.contracts import CATALOG
from tests.support.strategies import events
from tools.contracts.__main__ import main
from tools.contracts.asyncapi import asyncapi_document
from tools.contracts.consumers import Contracts, contracts_of_the_shop
from tools.contracts.documents import documents
from tools.contracts.released import Released
from tools.contracts.schemas import schema_of

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
OFFICIAL = ROOT / "tests" / "fixtures" / "asyncapi" / "3.0.0.json"
PACKAGES = (
    "shared",
    "order_service",
    "inventory_service",
    "shipping_service",
    "notifier_service",
    "read_api",
)

every_sample = pytest.mark.parametrize(
    "path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem
)


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    return contracts_of_the_shop()


@pytest.fixture(scope="module")
def released() -> Released:
    return Released.read(ROOT / "contracts")


@pytest.fixture(scope="module")
def asyncapi(contracts: Contracts, released: Released) -> dict[str, Any]:
    return asyncapi_document(contracts, released, GOLDEN)


def test_asyncapi_document_conforms_to_the_official_schema(asyncapi: dict[str, Any]):
    jsonschema_rs.validate(json.loads(OFFICIAL.read_bytes()), asyncapi)


def test_official_schema_refuses_other_documents(asyncapi: dict[str, Any]):
    operation = {"action": "publish", "channel": {"$ref": "#/channels/OrderCreated"}}
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(
            json.loads(OFFICIAL.read_bytes()), {**asyncapi, "operations": {"order": operation}}
        )


def references(node: Any) -> Iterator[str]:
    match node:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for value in node.values():
                yield from references(value)
        case list():
            for value in node:
                yield from references(value)


def test_asyncapi_references_lead_to_definitions(asyncapi: dict[str, Any]):
    for reference in set(references(asyncapi)):
        node = asyncapi
        for name in reference.removeprefix("#/").split("/"):
            node = node[name]


def operations_of(asyncapi: dict[str, Any], service: str, action: str) -> set[str]:
    """The channels that the service sends to, or receives from."""
    return {
        operation["channel"]["$ref"].rpartition("/")[2]
        for operation in asyncapi["operations"].values()
        if operation["action"] == action and operation["tags"] == [{"name": service}]
    }


def test_asyncapi_operations_follow_the_subscriptions(asyncapi: dict[str, Any]):
    assert operations_of(asyncapi, "shipping", "receive") >= {"OrderCreated", "StockReserved"}
    assert "SigningKeyPublished" in operations_of(asyncapi, "shipping", "receive")
    assert "ShipmentCompleted" not in operations_of(asyncapi, "shipping", "receive")
    consumed = {event_type.__name__ for event_type in read_api.CONSUMES}
    assert operations_of(asyncapi, "read", "receive") == consumed
    assert operations_of(asyncapi, "read", "send") == set()


def test_asyncapi_names_the_publisher_of_each_event(asyncapi: dict[str, Any]):
    sent = operations_of(asyncapi, "notifier", "send")
    own = {event_type.__name__ for event_type in CATALOG.published_by("notifier")}
    assert sent == {*own, "EventDeadLettered", "EventRedriven", "EventDiscarded"}
    assert asyncapi["channels"]["OrderCreated"]["address"] == "shop.order.{entityId}.order_created"


class Sample(NamedTuple):
    name: str
    version: int
    message: dict[str, Any]


def sample_of(path: Path) -> Sample:
    name, _, version = path.stem.partition("+")[0].partition(".v")
    return Sample(name, int(version), json.loads(path.read_bytes()))


@every_sample
def test_golden_sample_conforms_to_its_schema(path: Path, released: Released):
    name, version, message = sample_of(path)
    event_type = CATALOG.event_types[name]
    is_current = version == event_type.SCHEMA_VERSION
    schema = schema_of(event_type) if is_current else released.schema(name, version)
    assert schema["$id"] == message["dataschema"]
    jsonschema_rs.validate(schema, message["data"])


@cache
def validator(event_type: type[Event]) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema_of(event_type))


@given(st.sampled_from(list(CATALOG.event_types.values())).flatmap(events))
def test_encoded_event_conforms_to_its_schema(event: Event):
    validator(type(event)).validate(msgspec.json.decode(msgspec.json.encode(event)))


@every_sample
def test_golden_sample_conforms_to_asyncapi(path: Path, asyncapi: dict[str, Any]):
    name, version, message = sample_of(path)
    payload = asyncapi["components"]["messages"][f"{name}.v{version}"]["payload"]
    schema = {**payload, "components": asyncapi["components"]}
    jsonschema_rs.validate(schema, message)
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, {**message, "type": "AnotherEvent"})


def test_contract_files_are_packaged(contracts: Contracts, released: Released):
    """Services serve them from the installed package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["shared"]
    assert CATALOG.documents == ROOT / "shared" / "contracts" / "published"
    assert CATALOG.documents.resolve() == ROOT / "contracts"
    for path in documents(contracts, released, GOLDEN):
        packaged = PurePosixPath("contracts/published", path)
        assert any(packaged.match(pattern) for pattern in patterns), path


def test_published_contracts_are_up_to_date(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0, capsys.readouterr().out


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A directory with the contracts of this code."""
    copytree(ROOT / "contracts" / "schemas", tmp_path / "schemas")
    assert main(["write"], tmp_path) == 0
    return tmp_path


def test_written_contracts_pass_the_check(written: Path):
    assert main([], written) == 0


@pytest.mark.parametrize("path", ["asyncapi.json", "schemas/Additional.v1.json"])
def test_outdated_contracts_fail_the_check(
    written: Path, path: str, capsys: pytest.CaptureFixture[str]
):
    (written / path).write_text("{}")
    assert main([], written) == 1
    assert f"contracts/{path} is not up to date" in capsys.readouterr().out


def test_planted_change_fails_the_check(tmp_path: Path):
    """In a copy of the code, as `make check` and `make contracts` run it."""
    for name in (*PACKAGES, "tools", "contracts", "tests/unit/golden"):
        copytree(ROOT / name, tmp_path / name)
    main(["write"], tmp_path / "contracts")
    types = tmp_path / "shared" / "contracts" / "types.py"
    types.write_text(types.read_text().replace("MAX_LINES = 100", "MAX_LINES = 50"))
    for arguments in ([], ["write"]):
        command = [sys.executable, "-m", "tools.contracts", *arguments]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 1, result.stderr
        assert "consumers: inventory, shipping, notifier, read." in result.stdout
        assert "items: maxItems is 50, was 100" in result.stdout
