"""Any one event may be lost: deadlines then end the order and settle its stock."""

import random
from collections.abc import Callable

import pytest

from inventory_service.domain import ReservationStatus as Reserved
from order_service.orders.domain import is_final
from shared.contracts import OrderCancelled, OrderCompleted, OrderFailed, StockDeducted
from tests.support.in_memory_shop import World

STOCK = 5
DEADLINES = 2
"""The order asks again if the answer to its first request was lost."""


def delivered(world: World) -> None:
    _answer_carriers(world, delivered=True)


def failed(world: World) -> None:
    _answer_carriers(world, delivered=False)


def cancelled(world: World) -> None:
    world.cancel("o1")


def cancelled_with_the_carrier(world: World) -> None:
    for order_id in world.initiated():
        world.confirm_booking(order_id)
    world.cancel("o1")


def cancelled_after_delivery(world: World) -> None:
    delivered(world)
    world.cancel("o1")


SCENARIOS = (delivered, failed, cancelled, cancelled_with_the_carrier, cancelled_after_delivery)


class LossyDelivery:
    """Delivers in any order and loses one delivery, for one consumer or for all."""

    def __init__(self, world: World, seed: int, lost: int, *, everywhere: bool) -> None:
        self._world = world
        self._draw = random.Random(seed)
        self._until_loss = lost
        self._everywhere = everywhere

    @property
    def has_lost(self) -> bool:
        return self._until_loss < 0

    def deliver_all(self) -> None:
        while deliveries := self._world.deliveries():
            next_delivery = self._draw.choice(deliveries)
            if self._until_loss == 0:
                self._world.lose(*next_delivery, everywhere=self._everywhere)
            else:
                self._world.deliver(*next_delivery)
            self._until_loss -= 1


@pytest.mark.parametrize("everywhere", [True, False], ids=["for_all", "for_one_consumer"])
@pytest.mark.parametrize("quantity", [2, STOCK + 1], ids=["in_stock", "out_of_stock"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_order_ends_after_any_lost_event(
    scenario: Callable[[World], None], quantity: int, everywhere: bool
):
    for seed in range(10):
        lost = 0
        while _has_healed(scenario, quantity, seed, lost, everywhere=everywhere):
            lost += 1
        assert lost >= 3, "every delivery is to be lost once"


def _has_healed(
    scenario: Callable[[World], None], quantity: int, seed: int, lost: int, *, everywhere: bool
) -> bool:
    """Run the scenario without its `lost`-th delivery and check its end; False if there were fewer deliveries."""
    world = World({"prod001": STOCK})
    delivery = LossyDelivery(world, seed, lost, everywhere=everywhere)
    world.place("o1", [("prod001", quantity)])
    delivery.deliver_all()
    scenario(world)
    delivery.deliver_all()
    for _ in range(DEADLINES):
        _answer_carriers(world, delivered=scenario is not failed)
        delivery.deliver_all()
        if not is_final(world.order.state.orders["o1"]):
            world.expire("o1")
        delivery.deliver_all()
    if delivery.has_lost:
        _order_has_ended_once(world)
        _stock_is_settled(world)
    return delivery.has_lost


def _answer_carriers(world: World, *, delivered: bool) -> None:
    for order_id in world.initiated():
        world.answer_booking(order_id, delivered=delivered)


def _order_has_ended_once(world: World) -> None:
    ends = world.published(world.order, OrderCompleted, OrderFailed, OrderCancelled)
    assert len(ends) == 1, world.order.log


def _stock_is_settled(world: World) -> None:
    inventory = world.inventory
    product = inventory.state.products["prod001"]
    deducted = sum(
        line.quantity
        for recorded in world.published(inventory, StockDeducted)
        for line in recorded.event.items
    )
    is_delivered = bool(world.published(world.order, OrderCompleted))
    assert (product.reserved, product.on_hand) == (0, STOCK - deducted)
    assert bool(deducted) == is_delivered
    reservation = inventory.state.reservations.get("o1")
    assert reservation is None or reservation.status is not Reserved.RESERVED
