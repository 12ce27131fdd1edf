"""For any division into batches, the tables of a service are the fold of its rules."""

import random
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from shared.chassis.engine.unit_of_work import CommandEnvelope, process_batch
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import event_log
from shared.chassis.storage.database import CHASSIS_METADATA
from shared.contracts import CATALOG
from tests.support.chassis import INVENTORY, ORDER, SHIPPING, ServiceSpec
from tests.support.in_memory_shop import InMemoryShop, ShopService

Steps = list[RecordedEvent | CommandEnvelope]

STEPS = 60


def shop_after(seed: int) -> InMemoryShop:
    """A shop after many steps in random order."""
    draw = random.Random(seed)
    shop = InMemoryShop({"prod001": draw.randrange(6), "prod002": draw.randrange(6)})
    for number in range(STEPS):
        deliveries, orders, started = (
            shop.deliveries(),
            list(shop.order.state.orders),
            shop.initiated(),
        )
        happening = draw.random()
        if happening < 0.15:
            basket = [(draw.choice(["prod001", "prod002"]), draw.randint(1, 3)) for _ in range(2)]
            shop.place(f"o{number}", basket)
        elif happening < 0.25 and orders:
            shop.cancel(draw.choice(orders))
        elif happening < 0.3 and orders:
            shop.expire(draw.choice(orders))
        elif happening < 0.4 and started:
            shop.answer_booking(draw.choice(started), delivered=draw.random() < 0.5)
        elif deliveries:
            service, index = draw.choice(deliveries)
            shop.deliver(service, index, again_later=draw.random() < 0.2)
    return shop


def batches(steps: Steps, cuts: list[int]) -> list[Steps]:
    """The steps cut at these places, and wherever an event follows a command: a batch handles events first."""
    places = {cut % len(steps) for cut in cuts} | {
        number + 1
        for number, (one, next_one) in enumerate(pairwise(steps))
        if isinstance(one, CommandEnvelope) and isinstance(next_one, RecordedEvent)
    }
    ends = sorted(places | {0, len(steps)})
    return [steps[start:end] for start, end in pairwise(ends)]


def written(connection: Connection, spec: ServiceSpec, work: list[Steps]) -> Any:
    """The state in the tables after this work."""
    for batch in work:
        messages = [step for step in batch if isinstance(step, RecordedEvent)]
        commands = [step for step in batch if isinstance(step, CommandEnvelope)]
        process_batch(connection, messages, commands, source=spec.source, logic=spec.logic)
    return spec.logic.store.read_all(connection)


def essence(state: Any) -> Any:
    """The state without what differs in each run: times and generated ids."""
    plain = msgspec.to_builtins(state)
    for part in plain.values():
        for row in part.values() if isinstance(part, dict) else ():
            for name in ("created_at", "updated_at", "shipment_id"):
                row.pop(name, None)
    return plain


def service_of(shop: InMemoryShop, spec: ServiceSpec) -> ShopService:
    return next(service for service in shop.services if service.source == spec.source)


@pytest.fixture(scope="module")
def engine():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("spec", [ORDER, INVENTORY, SHIPPING], ids=lambda spec: spec.source)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 1000), max_size=40))
@settings(max_examples=40)
def test_tables_match_rules_for_any_batching(engine, spec: ServiceSpec, seed: int, cuts: list[int]):
    service = service_of(shop_after(seed), spec)
    with engine.begin() as connection:
        for tables in (CHASSIS_METADATA, spec.tables):
            tables.create_all(connection)
        state = written(connection, spec, batches(service.steps, cuts))
        log = list(event_log.read_all(connection, spec.source, CATALOG))
        for tables in (spec.tables, CHASSIS_METADATA):
            tables.drop_all(connection)
    assert essence(state) == essence(service.state)
    assert [event.event_type for event in log] == [event.event_type for event in service.log]
    assert [event.entity_id for event in log] == [event.entity_id for event in service.log]
