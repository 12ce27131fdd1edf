"""Every run of the saga within a bound: no rule fails, every order can always end, and the services then agree.

`make test` explores the smaller bounds, `make chaos` all. A protocol with a planted fault must not pass.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from inventory_service.domain import DeductStock
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.messages.decider import no_tasks
from shared.chassis.messages.event import Event
from shared.contracts import OrderCancelled, OrderCompleted, OrderFailed, StockDeducted
from shipping_service.domain import CancelShipment, ShipmentStatus
from tests.model.explorer import Graph
from tests.model.protocol import Budget, Protocol
from tests.model.services import QUANTITY, SPECS

ENOUGH, TOO_LITTLE = 2 * QUANTITY, QUANTITY - 1
ONE_ORDER, TWO_ORDERS = ("o1",), ("o1", "o2")


class Bound(NamedTuple):
    """What is explored."""

    stock: int
    orders: tuple[str, ...]
    budget: Budget


SMALL = {
    "in_stock_one_lost": Bound(ENOUGH, ONE_ORDER, Budget(cancellations=1, expiries=1, losses=1)),
    "in_stock_one_repeated": Bound(ENOUGH, ONE_ORDER, Budget(cancellations=1, repetitions=1)),
    "out_of_stock": Bound(
        TOO_LITTLE, ONE_ORDER, Budget(cancellations=1, expiries=1, losses=1, repetitions=1)
    ),
}
FULL = {
    "two_orders_for_one": Bound(QUANTITY, TWO_ORDERS, Budget()),
    "in_stock_lost_and_repeated": Bound(
        ENOUGH, ONE_ORDER, Budget(cancellations=2, expiries=2, losses=1, repetitions=1)
    ),
    "out_of_stock_all_twice": Bound(
        TOO_LITTLE, ONE_ORDER, Budget(cancellations=2, expiries=2, losses=2, repetitions=2)
    ),
    "two_orders_for_one_one_lost": Bound(QUANTITY, TWO_ORDERS, Budget(losses=1)),
    "two_orders_for_one_one_repeated": Bound(QUANTITY, TWO_ORDERS, Budget(repetitions=1)),
    "two_orders_in_stock": Bound(ENOUGH, TWO_ORDERS, Budget()),
}


@pytest.mark.parametrize("bound", SMALL.values(), ids=SMALL)
def test_every_run_ends_consistently(bound: Bound):
    assert_holds(bound)


@pytest.mark.long
@pytest.mark.parametrize("bound", FULL.values(), ids=FULL)
def test_every_run_of_full_bound_ends(bound: Bound):
    assert_holds(bound)


Logic = ServiceLogic[Any, Any]


def without_deadlines(logic: Logic) -> Logic:
    return logic._replace(schedule=no_tasks)


def without_bookings(logic: Logic) -> Logic:
    return logic._replace(schedule=no_tasks)


def without_order_outcomes(logic: Logic) -> Logic:
    """Inventory does not consume what ends an order."""
    outcomes = {OrderCompleted, OrderFailed, OrderCancelled}
    left = tuple(on for on in logic.subscriptions if on.event_type not in outcomes)
    return logic._replace(subscriptions=left)


def deducting_again(logic: Logic) -> Logic:
    """Inventory deducts stock for each message, whatever became of the reservation."""

    def decide(state: Any, command: Any) -> list[Event]:
        if isinstance(command, DeductStock):
            items = state.reservations[command.order_id].items
            if all(
                state.products[item.product_id].on_hand > 0 for item in items
            ):  # or without limit
                return [StockDeducted(order_id=command.order_id, items=items)]
        return logic.decider.decide(state, command)

    return _with_decide(logic, decide)


def keeping_answers(logic: Logic) -> Logic:
    """Shipping refuses a late cancellation, but does not repeat what ended the shipment."""

    def decide(state: Any, command: Any) -> list[Event]:
        events = logic.decider.decide(state, command)
        return events[:1] if isinstance(command, CancelShipment) else events

    return _with_decide(logic, decide)


def cancelling_too_late(logic: Logic) -> Logic:
    """Shipping cancels what was delivered."""

    def decide(state: Any, command: Any) -> list[Event]:
        shipment = state.shipments.get(command.order_id)
        if isinstance(command, CancelShipment) and shipment:
            recalled = replace(shipment, status=ShipmentStatus.INITIATED)
            state = replace(state, shipments={command.order_id: recalled})
        return logic.decider.decide(state, command)

    return _with_decide(logic, decide)


def _with_decide(logic: Logic, decide: Callable[[Any, Any], list[Event]]) -> Logic:
    return logic._replace(decider=logic.decider._replace(decide=decide))


ONE_LOST, ONE_REPEATED = Budget(losses=1), Budget(repetitions=1)


@pytest.mark.parametrize(
    ("service", "change", "budget", "finding"),
    [
        ("order", without_deadlines, ONE_LOST, "an order cannot end"),
        ("shipping", without_bookings, Budget(), "initiated without a booking"),
        ("shipping", keeping_answers, ONE_LOST, "an order cannot end"),
        ("inventory", without_order_outcomes, ONE_LOST, "o1 is COMPLETED, but RESERVED"),
        ("inventory", deducting_again, ONE_REPEATED, "stock"),
        ("shipping", cancelling_too_late, Budget(expiries=1), "becomes CANCELLED"),
    ],
)
def test_planted_fault_is_found(
    service: str, change: Callable[[Logic], Logic], budget: Budget, finding: str
):
    specs = tuple(
        spec._replace(logic=change(spec.logic)) if spec.source == service else spec
        for spec in SPECS
    )
    protocol = Protocol(stock=ENOUGH, specs=specs)
    assert finding in "\n".join(violations(protocol, budget))


def assert_holds(bound: Bound) -> None:
    protocol = Protocol(stock=bound.stock, orders=bound.orders)
    assert violations(protocol, bound.budget) == []


def violations(protocol: Protocol, budget: Budget) -> list[str]:
    """One of each kind, with a shortest path to it if it is a state's; prints how much was explored."""
    graph = Graph([protocol.initial(budget)], protocol.steps_from)
    ends = [number for number, world in enumerate(graph.states) if protocol.has_ended(world)]
    _print_counts(graph, Counter(protocol.statuses(graph.states[number]) for number in ends))
    violated = dict.fromkeys(protocol.violations, "")
    for number in ends:
        world = graph.states[number]
        has_lost = world.budget.losses < budget.losses
        if wrong := protocol.disagreement(world, has_lost=has_lost):
            violated.setdefault(wrong, _path(graph, number))
    for number in graph.without_way_to(ends):
        violated.setdefault("an order cannot end", _path(graph, number))
    return [f"{violation}: {path}" for violation, path in violated.items()]


def _print_counts(graph: Graph[Any], outcomes: Counter[tuple[str, ...]]) -> None:
    ends = ", ".join(f"{'+'.join(statuses)}: {n}" for statuses, n in sorted(outcomes.items()))
    print(f"{len(graph.states):,} states, {graph.step_count:,} steps; ends: {ends}")  # noqa: T201 - how much was explored


def _path(graph: Graph[Any], number: int) -> str:
    return "; ".join(graph.path_to(number))
