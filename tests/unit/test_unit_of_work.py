"""What a failed event or command leaves behind in its unit of work: nothing."""

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import Struct

from inventory_service.store import STORE
from shared.chassis.engine.rules import RuleFailed
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.engine.unit_of_work import CommandEnvelope, UnitOfWork
from shared.chassis.messages import clock
from shared.chassis.messages.decider import Decider
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.schedule import Schedule
from shared.chassis.storage.idempotency import IdempotencyKey, Reply
from shared.chassis.testing import recorded
from shared.contracts import ProductDeleted, StockAdded, StockAdjusted

ADDED = StockAdded(product_id="p1", quantity=5)
DELETED = ProductDeleted(product_id="p1")
FAILING = StockAdjusted(product_id="p1", quantity=-1)


class Counts(Struct, frozen=True):
    counts: Mapping[str, int] = {}


class Publish(Struct, frozen=True):
    events: tuple[Event, ...]


def decide(_: Counts, command: Publish) -> list[Event]:
    if not command.events:
        raise Rejected("nothing-to-change", "no events")
    return list(command.events)


def evolve(state: Counts, event: RecordedEvent) -> Counts:
    if event.event == FAILING:
        raise ZeroDivisionError
    name = event.event_type
    return Counts({**state.counts, name: state.counts.get(name, 0) + 1})


def schedule(_: Counts, event: RecordedEvent) -> tuple[Schedule, ...]:
    return (Schedule(kind="restock", key=event.event_id),)


LOGIC: ServiceLogic[Any, Publish] = ServiceLogic(
    Decider(Counts(), decide, evolve), STORE, (), schedule
)


@pytest.fixture
def work() -> UnitOfWork[Any, Publish]:
    """With one event recorded."""
    work = UnitOfWork("inventory", LOGIC, Counts(), 7, clock.now())
    work.execute(CommandEnvelope(Publish((ADDED,))))
    return work


def assert_only_first_event(work: UnitOfWork[Any, Publish]) -> None:
    assert [event.event for event in work.events] == [ADDED]
    assert (work.position, work.state) == (8, Counts({"StockAdded": 1}))
    assert [change.key for change, _ in work.changes] == [work.events[0].event_id]


def test_failed_command_is_undone(work: UnitOfWork[Any, Publish]) -> None:
    with pytest.raises(RuleFailed, match="ZeroDivisionError"):
        work.execute(CommandEnvelope(Publish((DELETED, FAILING))))
    assert_only_first_event(work)


def test_failed_event_is_undone(work: UnitOfWork[Any, Publish]) -> None:
    with pytest.raises(RuleFailed):
        work.handle(recorded(DELETED), Publish((DELETED, FAILING)))
    assert_only_first_event(work)


def test_event_whose_command_is_rejected_fails(work: UnitOfWork[Any, Publish]) -> None:
    with pytest.raises(RuleFailed, match="no events"):
        work.handle(recorded(DELETED), Publish(()))
    assert_only_first_event(work)


def test_rejected_command_is_undone(work: UnitOfWork[Any, Publish]) -> None:
    def respond(_: Counts) -> Reply:
        raise Rejected("nothing-to-change", "no")

    answer = work.execute(CommandEnvelope(Publish((DELETED,)), respond))
    assert isinstance(answer, Rejected)
    assert_only_first_event(work)


def test_failed_response_undoes_its_command(work: UnitOfWork[Any, Publish]) -> None:
    key = IdempotencyKey(name="somebody\nk1", fingerprint="f")
    with pytest.raises(RuleFailed, match="KeyError"):
        work.execute(CommandEnvelope(Publish((DELETED,)), lambda _: {}["reply"], key))
    assert_only_first_event(work)
    ok = Reply(status=201, body=b"")
    assert work.execute(CommandEnvelope(Publish((DELETED,)), lambda _: ok, key)) == ok


def test_work_continues_after_a_failure(work: UnitOfWork[Any, Publish]) -> None:
    with pytest.raises(RuleFailed):
        work.execute(CommandEnvelope(Publish((DELETED, FAILING))))
    work.execute(CommandEnvelope(Publish((DELETED,))))
    assert [event.position for event in work.events] == [8, 9]
    assert work.state == Counts({"StockAdded": 1, "ProductDeleted": 1})
