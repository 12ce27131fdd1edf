"""How the five services' routes are written: plain methods and functions, which get what they need by name."""

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from shared.settings import load

SERVICES = (
    "order_service",
    "inventory_service",
    "shipping_service",
    "notifier_service",
    "read_api",
)

SEVERAL_DEPENDENCIES = {"change_me", "register", "rotate_key", "receive_callback"}
"""They hash a password, are rare, or are called once per shipment."""


def handlers(service: str, data_dir: Path) -> Iterator[HTTPRouteHandler]:
    settings = load({"QUADRILLE_DATA_DIR": str(data_dir)})
    app = import_module(f"{service}.app").build(settings)
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if not function_of(handler).__module__.startswith("litestar."):
                    yield handler


def function_of(handler: HTTPRouteHandler):
    return handler.fn.func if isinstance(handler.fn, partial) else handler.fn


every_service = pytest.mark.parametrize("service", SERVICES)


@every_service
def test_handlers_are_not_closures(service: str, tmp_path: Path):
    names = [function_of(handler).__qualname__ for handler in handlers(service, tmp_path)]
    assert len(names) > 3
    assert not [name for name in names if "<locals>" in name]


@every_service
def test_handlers_have_one_dependency(service: str, tmp_path: Path):
    """Litestar starts a task for each of several, on every request."""
    for handler in handlers(service, tmp_path):
        names = handler.parsed_fn_signature.parameters.keys() & handler.resolve_dependencies()
        assert len(names) <= 1 or function_of(handler).__name__ in SEVERAL_DEPENDENCIES, names
