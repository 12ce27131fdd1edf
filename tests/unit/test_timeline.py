"""An order's events in causal order, with the cause and latency of each."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from read_api.queries.timeline import timeline
from read_api.schemas import TimelineEvent, event_view
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.system_events import EventDeadLettered
from shared.contracts import (
    LineItem,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    ShipmentCancellationRefused,
    ShipmentCompleted,
    ShipmentInitiated,
    StockDeducted,
    StockReserved,
)
from tests.support.histories import caused, in_memory_shops, logs_of
from tests.support.history import recorded
from tests.support.in_memory_shop import InMemoryShop

ITEMS = (LineItem(product_id="prod001", quantity=1),)

CREATED = recorded(
    OrderCreated(order_id="o1", user_id="u", items=(), total_amount=0, currency="JPY")
)
RESERVED = caused(recorded(StockReserved(order_id="o1", items=ITEMS)), CREATED, after_seconds=0.010)
CONFIRMED = caused(recorded(OrderConfirmed(order_id="o1")), RESERVED, after_seconds=0.005)
INITIATED = caused(
    recorded(ShipmentInitiated(order_id="o1", shipment_id="s1", items=ITEMS)),
    RESERVED,
    after_seconds=0.004,
)
COMPLETED = caused(
    recorded(ShipmentCompleted(order_id="o1", shipment_id="s1", tracking_number="T1")),
    INITIATED,
    after_seconds=3,
)
ENDED = caused(
    recorded(OrderCompleted(order_id="o1", tracking_number="T1")), COMPLETED, after_seconds=0.002
)
DEDUCTED = caused(
    recorded(StockDeducted(order_id="o1", items=ITEMS)), COMPLETED, after_seconds=0.001
)
HISTORY = [CREATED, RESERVED, INITIATED, CONFIRMED, COMPLETED, DEDUCTED, ENDED]


def entries(*events: RecordedEvent) -> list[TimelineEvent]:
    return list(timeline("o1", [event_view(event) for event in events]).items)


def types(*events: RecordedEvent) -> list[str]:
    return [entry.type for entry in entries(*events)]


@given(st.permutations(HISTORY))
def test_timeline_orders_events_by_cause_then_time(events: list[RecordedEvent]) -> None:
    assert types(*events) == [event.event_type for event in HISTORY]


def test_wrong_clock_keeps_cause_before_effect() -> None:
    early = replace(RESERVED, recorded_at=CREATED.recorded_at - timedelta(hours=1))
    assert types(early, CREATED) == ["OrderCreated", "StockReserved"]


def test_events_of_one_batch_sort_by_position() -> None:
    batch = [
        replace(HISTORY[0], position=position, event_id=event_id)
        for position, event_id in enumerate(("c", "a", "b"), 1)
    ]
    assert [entry.event_id for entry in entries(*reversed(batch))] == ["c", "a", "b"]


def test_entry_names_its_cause_and_latency() -> None:
    by_type = {entry.type: entry for entry in entries(*HISTORY)}
    created, completed = by_type["OrderCreated"], by_type["ShipmentCompleted"]
    assert (created.cause, created.latency_ms, created.since_start_ms) == (None, None, 0)
    assert completed.cause
    assert (completed.cause.type, completed.cause.event_id) == (
        "ShipmentInitiated",
        INITIATED.event_id,
    )
    assert (completed.latency_ms, completed.since_start_ms) == (3000.0, 3014.0)


def test_unknown_cause_is_named_without_type() -> None:
    [entry] = entries(CONFIRMED)
    assert entry.cause
    assert (entry.cause.event_id, entry.cause.type) == (RESERVED.event_id, None)
    assert entry.latency_ms is None


def test_unused_event_after_the_end_is_late() -> None:
    refused = caused(
        recorded(ShipmentCancellationRefused(order_id="o1", reason="COMPLETED")),
        CREATED,
        after_seconds=5,
    )
    late = [entry.type for entry in entries(*HISTORY, refused) if entry.late]
    assert late == ["ShipmentCancellationRefused"]


def test_no_event_of_open_order_is_late() -> None:
    assert not any(entry.late for entry in entries(CREATED, RESERVED))


@pytest.mark.parametrize("kind", [StockDeducted, EventDeadLettered])
def test_foreign_event_is_not_late(kind) -> None:
    lettered = recorded(EventDeadLettered(event_id="e", key="o1", error="x"), source="inventory")
    events = [*HISTORY, lettered]
    assert not any(entry.late for entry in entries(*events) if entry.type == kind.__name__)


def test_cyclic_causes_are_listed_once() -> None:
    one = recorded(OrderConfirmed(order_id="o1"))
    other = recorded(OrderCancelled(order_id="o1", reason="CUSTOMER"))
    circle = [
        replace(one, causation_id=other.event_id),
        replace(other, causation_id=one.event_id),
    ]
    assert types(CREATED, *circle) == ["OrderCreated", "OrderConfirmed", "OrderCancelled"]


@given(in_memory_shops())
def test_timeline_lists_every_event_once_after_cause(shop: InMemoryShop) -> None:
    log = [event for log in logs_of(shop).values() for event in log]
    for order_id in shop.order.state.orders:
        events = [event for event in log if event.correlation_id == order_id]
        listed = [entry.event_id for entry in entries(*events)]
        assert sorted(listed) == sorted(event.event_id for event in events)
        causes = {event.event_id: event.causation_id for event in events}
        for index, event_id in enumerate(listed):
            assert causes[event_id] not in listed[index:]
