"""What each service keeps in its tables, however its work falls into batches, is what its rules alone would keep."""

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
from tests.support.in_memory_shop import Member, World

Visibility = list[RecordedEvent | CommandEnvelope]

STEPS = 60


def lived(seed: int) -> World:
    """A world in which much has happened, in some disorder."""
    draw = random.Random(seed)
    world = World({"prod001": draw.randrange(6), "prod002": draw.randrange(6)})
    for number in range(STEPS):
        letters, orders, begun = world.letters(), list(world.order.state.orders), world.begun()
        happening = draw.random()
        if happening < 0.15:
            basket = [(draw.choice(["prod001", "prod002"]), draw.randint(1, 3)) for _ in range(2)]
            world.place(f"o{number}", basket)
        elif happening < 0.25 and orders:
            world.cancel(draw.choice(orders))
        elif happening < 0.3 and orders:
            world.expire(draw.choice(orders))
        elif happening < 0.4 and begun:
            world.answer_booking(draw.choice(begun), delivered=draw.random() < 0.5)
        elif letters:
            member, index = draw.choice(letters)
            world.deliver(member, index, again_later=draw.random() < 0.2)
    return world


def batches(story: Visibility, cuts: list[int]) -> list[Visibility]:
    """The story cut at these places, and wherever an event follows a command: a batch hears first."""
    places = {cut % len(story) for cut in cuts} | {
        number + 1
        for number, (one, next_one) in enumerate(pairwise(story))
        if isinstance(one, CommandEnvelope) and isinstance(next_one, RecordedEvent)
    }
    ends = sorted(places | {0, len(story)})
    return [story[start:end] for start, end in pairwise(ends)]


def written(connection: Connection, trade: ServiceSpec, work: list[Visibility]) -> Any:
    """The state in the tables after this work."""
    for batch in work:
        messages = [each for each in batch if isinstance(each, RecordedEvent)]
        wishes = [each for each in batch if isinstance(each, CommandEnvelope)]
        process_batch(connection, trade.source, trade.logic, messages, wishes)
    return trade.logic.store.read_all(connection)


def essence(state: Any) -> Any:
    """All but what differs from run to run: the time, and ids made on the way."""
    plain = msgspec.to_builtins(state)
    for part in plain.values():
        for row in part.values() if isinstance(part, dict) else ():
            for name in ("created_at", "updated_at", "shipment_id"):
                row.pop(name, None)
    return plain


def member_of(world: World, trade: ServiceSpec) -> Member:
    return next(member for member in world.members if member.source == trade.source)


@pytest.fixture(scope="module")
def engine():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("trade", [ORDER, INVENTORY, SHIPPING], ids=lambda trade: trade.source)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 1000), max_size=40))
@settings(max_examples=40)
def test_tables_match_rules_for_any_batching(
    engine, trade: ServiceSpec, seed: int, cuts: list[int]
):
    member = member_of(lived(seed), trade)
    with engine.begin() as connection:
        for tables in (CHASSIS_METADATA, trade.tables):
            tables.create_all(connection)
        state = written(connection, trade, batches(member.story, cuts))
        log = list(event_log.read_all(connection, trade.source, CATALOG))
        for tables in (trade.tables, CHASSIS_METADATA):
            tables.drop_all(connection)
    assert essence(state) == essence(member.state)
    assert [each.event_type for each in log] == [each.event_type for each in member.log]
    assert [each.entity_id for each in log] == [each.entity_id for each in member.log]
