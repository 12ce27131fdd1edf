"""What a transaction loads for the events that it consumes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Struct
from sqlalchemy import Connection, create_engine

from inventory_service.domain import InventoryState, Product, Reservation, Status
from inventory_service.store import METADATA, STORE
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.engine.unit_of_work import process_batch
from shared.chassis.messages.decider import Decider, on
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import CHASSIS_METADATA
from shared.chassis.testing import recorded
from shared.contracts import LineItem, StockReleased, StockReserved

AT = datetime(2026, 11, 20, tzinfo=UTC)
STOCK = InventoryState(
    products={
        "p1": Product(
            product_id="p1", name="Lamp", description="", price=1, created_at=AT, updated_at=AT
        )
    },
    reservations={
        "o1": Reservation(
            order_id="o1", status=Status.REFUSED, items=(), created_at=AT, updated_at=AT
        )
    },
)
ITEMS = (LineItem(product_id="p1", quantity=1),)
WITH_COMMAND = StockReserved(order_id="o1", items=ITEMS)
WITHOUT_COMMAND = StockReleased(order_id="o1", items=ITEMS, reason="CUSTOMER")


class Nothing(Struct, frozen=True):
    """A command that touches no entity."""


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
