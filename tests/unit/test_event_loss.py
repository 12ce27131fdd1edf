"""Any one event may be lost: deadlines then end the order and settle its stock, and a nudge does so without them."""

import random
from collections.abc import Callable

import pytest

from inventory_service.domain import ReservationStatus as Reserved
from shared.contracts import OrderCancelled, OrderCompleted, OrderFailed, OrderNudged, StockDeducted
from tests.support.in_memory_shop import InMemoryShop

STOCK = 5
ROUNDS = 2
"""The order asks again if the answer to its first request was lost; an operator nudges again if the nudge was."""

Remedy = Callable[[InMemoryShop], None]


def deadline(shop: InMemoryShop) -> None:
    shop.pass_deadlines()


def nudge(shop: InMemoryShop) -> None:
    shop.nudge("o1")


RUNS = {deadline: 10, nudge: 4}
"""Orders of delivery; a nudge repeats every event, and so takes longer."""


def delivered(shop: InMemoryShop) -> None:
    _answer_carriers(shop, delivered=True)


def failed(shop: InMemoryShop) -> None:
    _answer_carriers(shop, delivered=False)


def cancelled(shop: InMemoryShop) -> None:
    shop.cancel("o1")


def cancelled_with_the_carrier(shop: InMemoryShop) -> None:
    for order_id in shop.initiated():
        shop.confirm_booking(order_id)
    shop.cancel("o1")


def cancelled_after_delivery(shop: InMemoryShop) -> None:
    delivered(shop)
    shop.cancel("o1")


SCENARIOS = (delivered, failed, cancelled, cancelled_with_the_carrier, cancelled_after_delivery)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nudge_of_settled_order_changes_nothing(scenario: Callable[[InMemoryShop], None]):
    shop = InMemoryShop({"prod001": STOCK})
    shop.place("o1", [("prod001", 2)])
    shop.deliver_all()
    scenario(shop)
    _answer_carriers(shop, delivered=scenario is not failed)
    shop.deliver_all()
    before = [(len(service.log), service.state, dict(service.tasks)) for service in shop.services]
    shop.nudge("o1")
    shop.deliver_all()
    assert isinstance(shop.order.log.pop().event, OrderNudged)
    after = [(len(service.log), service.state, dict(service.tasks)) for service in shop.services]
    assert after == before


class LossyDelivery:
    """Delivers in any order and loses one delivery, for one consumer or for all."""

    def __init__(self, shop: InMemoryShop, seed: int, lost: int, *, everywhere: bool) -> None:
        self._shop = shop
        self._draw = random.Random(seed)
        self._until_loss = lost
        self._everywhere = everywhere

    @property
    def has_lost(self) -> bool:
        return self._until_loss < 0

    def deliver_all(self) -> None:
        while deliveries := self._shop.deliveries():
            next_delivery = self._draw.choice(deliveries)
            if self._until_loss == 0:
                self._shop.lose(*next_delivery, everywhere=self._everywhere)
            else:
                self._shop.deliver(*next_delivery)
            self._until_loss -= 1


@pytest.mark.parametrize("everywhere", [True, False], ids=["for_all", "for_one_consumer"])
@pytest.mark.parametrize("quantity", [2, STOCK + 1], ids=["in_stock", "out_of_stock"])
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("remedy", [deadline, nudge])
def test_order_ends_after_any_lost_event(
    remedy: Remedy, scenario: Callable[[InMemoryShop], None], quantity: int, everywhere: bool
):
    for seed in range(RUNS[remedy]):
        lost = 0
        while _check_without_delivery(
            remedy, scenario, quantity, seed, lost, everywhere=everywhere
        ):
            lost += 1
        assert lost >= 3, "every delivery is to be lost once"


def _check_without_delivery(
    remedy: Remedy,
    scenario: Callable[[InMemoryShop], None],
    quantity: int,
    seed: int,
    lost: int,
    *,
    everywhere: bool,
) -> bool:
    """Run the scenario without its `lost`-th delivery and check its end; False if there were fewer deliveries."""
    shop = InMemoryShop({"prod001": STOCK})
    delivery = LossyDelivery(shop, seed, lost, everywhere=everywhere)
    shop.place("o1", [("prod001", quantity)])
    delivery.deliver_all()
    scenario(shop)
    delivery.deliver_all()
    for _ in range(ROUNDS):
        _answer_carriers(shop, delivered=scenario is not failed)
        delivery.deliver_all()
        remedy(shop)
        delivery.deliver_all()
    if delivery.has_lost:
        _order_has_ended_once(shop)
        _stock_is_settled(shop)
    return delivery.has_lost


def _answer_carriers(shop: InMemoryShop, *, delivered: bool) -> None:
    for order_id in shop.initiated():
        shop.answer_booking(order_id, delivered=delivered)


def _order_has_ended_once(shop: InMemoryShop) -> None:
    ends = shop.published(shop.order, OrderCompleted, OrderFailed, OrderCancelled)
    assert len(ends) == 1, shop.order.log


def _stock_is_settled(shop: InMemoryShop) -> None:
    inventory = shop.inventory
    product = inventory.state.products["prod001"]
    deducted = sum(
        line.quantity
        for recorded in shop.published(inventory, StockDeducted)
        for line in recorded.event.items
    )
    is_delivered = bool(shop.published(shop.order, OrderCompleted))
    assert (product.reserved, product.on_hand) == (0, STOCK - deducted)
    assert bool(deducted) == is_delivered
    reservation = inventory.state.reservations.get("o1")
    assert reservation is None or reservation.status is not Reserved.RESERVED
