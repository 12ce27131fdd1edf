"""Each service's `__init__` lists what it owns, publishes and consumes: these lists are true."""

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from quadrille.recovery.service_rules import RULES
from shared.contracts import CATALOG
from shared.settings import ShopSettings

DECIDERS = ("order_service", "inventory_service", "shipping_service", "notifier_service")

every_decider = pytest.mark.parametrize("service", DECIDERS)


@every_decider
def test_service_owns_its_tables(service: str):
    tables = import_module(f"{service}.store").METADATA.tables
    assert set(import_module(service).OWNS) == set(tables)


@every_decider
def test_service_consumes_its_subscribed_events(service: str):
    rules = RULES[service.removesuffix("_service")]
    subscriptions = rules.logic(ShopSettings()).subscriptions
    assert (
        tuple(reaction.event_type for reaction in subscriptions) == import_module(service).CONSUMES
    )


@every_decider
def test_service_creates_only_events_it_publishes(service: str):
    package = import_module(service)
    made = {name for path in _sources(package) for name in _events_made_in(path)}
    assert made == {event_type.__name__ for event_type in package.PUBLISHES}


def _sources(package: ModuleType) -> list[Path]:
    assert package.__file__
    return list(Path(package.__file__).parent.rglob("*.py"))


def _events_made_in(path: Path) -> set[str]:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {
        call.func.id
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in CATALOG.event_types
    }
