"""Writes the OpenAPI document of each service to `contracts/openapi`: python -m tools.openapi_documents."""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar

from shared.chassis.http import openapi
from shared.settings import ShopSettings

DIRECTORY = Path(__file__).parents[1] / "contracts" / "openapi"
PACKAGES = {
    "order": "order_service",
    "inventory": "inventory_service",
    "shipping": "shipping_service",
    "notifier": "notifier_service",
    "read": "read_api",
}

Json = dict[str, Any]


def build_applications() -> dict[str, Litestar]:
    """The services by name, without starting anything."""
    with tempfile.TemporaryDirectory() as directory:
        settings = ShopSettings(data_dir=Path(directory))
        return {
            service: import_module(f"{package}.app").build(settings)
            for service, package in PACKAGES.items()
        }


def document_of(app: Litestar) -> Json:
    """As plain JSON."""
    document: Json = msgspec.json.decode(msgspec.json.encode(openapi.document(app)))
    return document


def file_of(document: Json) -> bytes:
    """As it is written."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def main() -> None:
    """Write all of them."""
    DIRECTORY.mkdir(exist_ok=True)
    for service, app in build_applications().items():
        (DIRECTORY / f"{service}.json").write_bytes(file_of(document_of(app)))


if __name__ == "__main__":
    main()
