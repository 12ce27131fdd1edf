"""given / when / then and the service in memory, on the inventory service."""

import pytest

from inventory_service.app import LOGIC
from inventory_service.domain import ChangeStock, DeductStock, DeleteProduct, ReserveStock
from shared.chassis.engine.rules import RuleFailed
from shared.chassis.messages.rejection import Rejected
from shared.chassis.testing import InMemoryService, given, recorded
from shared.contracts import (
    LineItem,
    OrderCreated,
    OrderItem,
    ProductCreated,
    ProductDeleted,
    ShipmentCompleted,
    StockAdded,
    StockReserved,
)

CREATED = ProductCreated(product_id="p1", name="Lamp", description="", price=100)
ADDED = StockAdded(product_id="p1", quantity=5)
ITEMS = (LineItem(product_id="p1", quantity=2),)
RESERVED = StockReserved(order_id="o1", items=ITEMS)
ORDERED = OrderCreated(
    order_id="o1",
    user_id="u1",
    items=(OrderItem(product_id="p1", quantity=2, price=100),),
    total_amount=200,
    currency="JPY",
)


def test_command_leads_to_expected_events() -> None:
    stocked = given(LOGIC.decider, CREATED, ADDED)
    stocked.when(ReserveStock(order_id="o1", items=ITEMS)).then(RESERVED)
    stocked.when(DeleteProduct(product_id="p1")).then(ProductDeleted(product_id="p1"))


def test_settled_command_leads_to_nothing() -> None:
    settled = given(LOGIC.decider, CREATED, ADDED, RESERVED)
    settled.when(ReserveStock(order_id="o1", items=ITEMS)).then()


def test_unexpected_events_fail_the_test() -> None:
    decision = given(LOGIC.decider, CREATED, ADDED).when(ReserveStock(order_id="o1", items=ITEMS))
    with pytest.raises(AssertionError, match="StockReserved"):
        decision.then()
    with pytest.raises(AssertionError, match="not rejected"):
        decision.then_rejected("unknown-product")


def test_rejection_is_expected_by_its_code() -> None:
    decision = given(LOGIC.decider).when(ChangeStock(product_id="p1", quantity=1))
    assert "p1" in decision.then_rejected("unknown-product").detail
    with pytest.raises(AssertionError, match="unknown-product"):
        decision.then_rejected("nothing-to-change")
    with pytest.raises(AssertionError, match="rejected"):
        decision.then()


@pytest.fixture
def service() -> InMemoryService:
    service = InMemoryService("inventory", LOGIC)
    service.state = given(LOGIC.decider, CREATED, ADDED).state
    return service


def test_consumed_event_is_handled_once(service: InMemoryService) -> None:
    ordered = recorded(ORDERED)
    assert service.consumes(ordered)
    assert [event.event for event in service.handle(ordered)] == [RESERVED]
    assert service.handle(ordered) == []
    assert [event.position for event in service.log] == [1]


def test_rejected_command_changes_nothing(service: InMemoryService) -> None:
    before = service.state
    with pytest.raises(Rejected):
        service.execute(ChangeStock(product_id="p2", quantity=1))
    assert (service.state, service.log) == (before, [])


def test_failing_rule_raises_and_changes_nothing(service: InMemoryService) -> None:
    before = service.state
    with pytest.raises(RuleFailed):
        service.execute(DeductStock(order_id="o9"))
    with pytest.raises(RuleFailed):
        service.handle(
            recorded(ShipmentCompleted(shipment_id="s1", order_id="o9", tracking_number="T1"))
        )
    assert (service.state, service.log) == (before, [])
