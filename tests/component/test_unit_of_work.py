"""What a transaction loads for the events that it consumes, and what it writes if a rule fails."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Struct
from sqlalchemy import Connection, create_engine

from inventory_service.domain import InventoryState, Product, Reservation, ReservationStatus
from inventory_service.store import METADATA, STORE
from shared.chassis.engine.rules import RuleFailed
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.engine.unit_of_work import CommandEnvelope, process_batch
from shared.chassis.messages.decider import Decider, on
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import event_log
from shared.chassis.storage.database import CHASSIS_METADATA
from shared.chassis.testing import recorded
from shared.contracts import CATALOG, LineItem, StockReleased, StockReserved

AT = datetime(2026, 11, 20, tzinfo=UTC)
STOCK = InventoryState(
    products={
        "p1": Product(
            product_id="p1", name="Lamp", description="", price=1, created_at=AT, updated_at=AT
        )
    },
    reservations={
        "o1": Reservation(
            order_id="o1", status=ReservationStatus.REFUSED, items=(), created_at=AT, updated_at=AT
        )
    },
)
ITEMS = (LineItem(product_id="p1", quantity=1),)
WITH_COMMAND = StockReserved(order_id="o1", items=ITEMS)
WITHOUT_COMMAND = StockReleased(order_id="o1", items=ITEMS, reason="CUSTOMER")


class Nothing(Struct, frozen=True):
    """A command that touches no entity."""


class Record(Struct, frozen=True):
    """A command that is decided as this event."""

    event: Event


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        for metadata in (CHASSIS_METADATA, METADATA):
            metadata.create_all(connection)
        STORE.save(connection, InventoryState(), STOCK)
        yield connection
    engine.dispose()


@pytest.mark.parametrize(
    ("event", "products"),
    [(WITH_COMMAND, set()), (WITHOUT_COMMAND, {"p1"})],
    ids=["its own entity, with a command", "all that it touches, without"],
)
def test_consumed_event_loads_its_entities(
    connection: Connection, event: Event, products: set[str]
) -> None:
    states: list[InventoryState] = []

    def evolve(state: InventoryState, _: RecordedEvent) -> InventoryState:
        states.append(state)
        return state

    logic: ServiceLogic[InventoryState, Any] = ServiceLogic(
        Decider(InventoryState(), lambda _state, _command: [], evolve),
        STORE,
        (on(StockReserved, lambda _: Nothing()), on(StockReleased)),
    )
    process_batch(connection, [recorded(event)], [], source="order", logic=logic)
    assert [(set(state.reservations), set(state.products)) for state in states] == [
        ({"o1"}, products)
    ]


def test_failed_command_leaves_no_row_in_the_log(connection: Connection) -> None:
    logic: ServiceLogic[InventoryState, Any] = ServiceLogic(
        Decider(InventoryState(), lambda _, command: [command.event], lambda state, _: state),
        STORE,
        (),
    )
    failing = CommandEnvelope(Record(WITH_COMMAND), respond=lambda _: 1 // 0)
    outcome = process_batch(
        connection,
        [],
        [failing, CommandEnvelope(Record(WITHOUT_COMMAND))],
        source="inventory",
        logic=logic,
    )
    assert isinstance(outcome.answers[0], RuleFailed)
    log = list(event_log.read_all(connection, "inventory", CATALOG))
    assert [(event.position, event.event) for event in log] == [(1, WITHOUT_COMMAND)]
    assert [event.event_id for event in log] == [event.event_id for event in outcome.events]
