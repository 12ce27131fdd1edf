"""The five services' applications and OpenAPI documents, without starting anything."""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar

from shared.chassis.http import openapi
from tests.support.settings import settings_for

Json = dict[str, Any]

PACKAGES = {
    "order": "order_service",
    "inventory": "inventory_service",
    "shipping": "shipping_service",
    "notifier": "notifier_service",
    "read": "read_api",
}


def build_applications() -> dict[str, Litestar]:
    with tempfile.TemporaryDirectory() as directory:
        settings = settings_for(Path(directory), "nats://127.0.0.1:1")
        return {
            service: import_module(f"{package}.app").build(settings)
            for service, package in PACKAGES.items()
        }


def document_of(app: Litestar) -> Json:
    """As JSON."""
    document: Json = msgspec.json.decode(msgspec.json.encode(openapi.document(app)))
    return document
