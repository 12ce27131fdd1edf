"""The service that the board names is the one whose next delivery or task moves the order: with the real rules."""

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service.domain import ReservationStatus
from order_service.orders.domain import is_final
from read_api.saga_steps import ACTORS, History, Step, history_of, remaining
from read_api.schemas import EventView, event_view
from shared.contracts import CATALOG, OrderNudged
from tests.support.histories import in_memory_shops
from tests.support.in_memory_shop import InMemoryShop, ShopService

SEEDS = st.integers(0, 2**32)
PRODUCT = "prod001"
OFTEN, SOMETIMES, HALF = 15, 2, 0.5
HAPPY = [
    *(Step.RESERVE_STOCK, Step.INITIATE_SHIPMENT, Step.BOOK_CARRIER, Step.DELIVER),
    *(Step.COMPLETE_ORDER, Step.DEDUCT_STOCK),
]


def events_of(shop: InMemoryShop, order_id: str) -> list[EventView]:
    """What the read API has of an order when it has applied everything."""
    return [
        event_view(recorded)
        for service in shop.services
        for recorded in service.log
        if recorded.entity_id == order_id
    ]


def history(shop: InMemoryShop, order_id: str = "o1") -> History:
    return history_of(events_of(shop, order_id))


def service_named(shop: InMemoryShop, source: str) -> ShopService:
    return next(service for service in shop.services if service.source == source)


def deliver_to(shop: InMemoryShop, service: ShopService) -> None:
    while service.pending:
        shop.deliver(service, 0)


def nudge(shop: InMemoryShop, order_id: str) -> None:
    """Every service publishes its events of the order again; nothing else is handled."""
    shop.nudge(order_id)
    for service in shop.services:
        nudges = [isinstance(event.event, OrderNudged) for event in service.pending]
        for index in reversed([index for index, is_nudge in enumerate(nudges) if is_nudge]):
            shop.deliver(service, index)


def act(shop: InMemoryShop, order_id: str, step: Step) -> None:
    """Deliver everything to the service that must act, or run its task."""
    service = service_named(shop, ACTORS[step].service)
    if step is Step.BOOK_CARRIER:
        assert service is shop.shipping, "the carrier answers its task"
        shop.confirm_booking(order_id)
    elif step is Step.DELIVER:
        assert service is shop.shipping, "the carrier answers its task"
        shop.answer_booking(order_id, delivered=True)
    else:
        deliver_to(shop, service)


@st.composite
def shops_under_way(draw: st.DrawFn) -> InMemoryShop:
    """Orders at any point: events are pending or lost, and they are cancelled and expire at any moment."""
    shop = InMemoryShop({PRODUCT: draw(st.integers(2, 6))})
    chance = random.Random(draw(SEEDS))
    for number in range(1, draw(st.integers(1, 3)) + 1):
        order_id = f"o{number}"
        shop.place(order_id, [(PRODUCT, draw(st.integers(1, 3)))])
        for _ in range(draw(st.integers(0, 20))):
            do_something(shop, order_id, chance)
    return shop


def do_something(shop: InMemoryShop, order_id: str, chance: random.Random) -> None:
    """Mostly a delivery, so that many orders come far."""
    deliveries, is_booked = shop.deliveries(), order_id in shop.initiated()
    possible: list[Callable[[], None]] = [lambda: shop.cancel(order_id)]
    possible += [lambda: shop.expire(order_id)]
    if deliveries:
        at_random = chance.choice(deliveries)
        possible += [lambda: shop.deliver(*at_random)] * OFTEN
        possible += [lambda: shop.lose(*at_random, everywhere=chance.random() < HALF) and None]
    if is_booked:
        possible += [lambda: shop.confirm_booking(order_id)] * SOMETIMES
        possible += [
            lambda: shop.answer_booking(order_id, delivered=chance.random() < HALF)
        ] * SOMETIMES
    chance.choice(possible)()


def is_over(shop: InMemoryShop, order_id: str) -> bool:
    reservation = shop.inventory.state.reservations.get(order_id)
    is_reserved = reservation is not None and reservation.status is ReservationStatus.RESERVED
    return is_final(shop.order.state.orders[order_id]) and not is_reserved


@given(shops_under_way())
def test_saga_has_no_next_step_when_over(shop: InMemoryShop):
    for order_id in shop.order.state.orders:
        assert (history(shop, order_id).step is None) == is_over(shop, order_id)


@given(shops_under_way())
def test_service_that_must_act_moves_the_order(shop: InMemoryShop):
    for order_id in shop.order.state.orders:
        if step := history(shop, order_id).step:
            nudge(shop, order_id)  # what was lost is pending again
            assert history(shop, order_id).step is step
            act(shop, order_id, step)
            assert history(shop, order_id).step is not step


@given(shops_under_way())
def test_saga_ends_never_without_the_acting_service(shop: InMemoryShop):
    for order_id in shop.order.state.orders:
        if step := history(shop, order_id).step:
            acting = service_named(shop, ACTORS[step].service)
            for service in shop.services:
                if service is not acting:
                    deliver_to(shop, service)
            assert not is_over(shop, order_id)


@given(shops_under_way())
def test_sagas_end_if_named_services_act(shop: InMemoryShop):
    for order_id in shop.order.state.orders:
        for _ in range(20):
            step = history(shop, order_id).step
            if step is None:
                break
            nudge(shop, order_id)
            act(shop, order_id, step)
            assert history(shop, order_id).step is not step
        assert is_over(shop, order_id)


@given(in_memory_shops(), SEEDS)
def test_arrival_order_does_not_change_the_steps(shop: InMemoryShop, seed: int):
    for order_id in shop.order.state.orders:
        events = events_of(shop, order_id)
        expected = history_of(events)
        random.Random(seed).shuffle(events)
        assert history_of(events) == expected


def test_every_step_awaits_events_of_its_service():
    for actor in ACTORS.values():
        for name in actor.awaits:
            assert CATALOG.publisher_of(CATALOG.event_types[name]) == actor.service


def test_order_resumes_by_refusal_of_either_request():
    shop = InMemoryShop({PRODUCT: 5})
    shop.place("o1", [(PRODUCT, 2)])
    shop.deliver_all()
    shop.confirm_booking("o1")
    shop.cancel("o1")
    deliver_to(shop, shop.shipping)
    shop.expire("o1")
    assert history(shop).step is Step.RESUME_ORDER
    deliver_to(shop, shop.order)
    assert history(shop).step is Step.DELIVER


def happy_steps() -> Iterator[tuple[Step | None, History]]:
    """The steps of a delivered order, as each becomes the next one."""
    shop = InMemoryShop({PRODUCT: 5})
    shop.place("o1", [(PRODUCT, 2)])
    while step := history(shop).step:
        yield step, history(shop)
        act(shop, "o1", step)
    yield None, history(shop)


def test_delivered_order_passes_the_usual_steps():
    *steps, (_, end) = happy_steps()
    assert [step for step, _ in steps] == HAPPY
    assert [step for step, _ in end.durations] == HAPPY
    for number, (_, so_far) in enumerate(steps):
        assert remaining(so_far.progress) == HAPPY[number:]


@pytest.mark.parametrize(
    ("is_dispatched", "steps"),
    [
        (False, [Step.DECIDE_CANCELLATION, Step.CANCEL_ORDER, Step.RELEASE_STOCK]),
        (
            True,
            [
                *(Step.DECIDE_CANCELLATION, Step.RESUME_ORDER, Step.DELIVER),
                *(Step.COMPLETE_ORDER, Step.DEDUCT_STOCK),
            ],
        ),
    ],
    ids=["in_time", "too_late"],
)
def test_cancellation_is_usually_decided_by_shipment(is_dispatched: bool, steps: list[Step]):
    shop = InMemoryShop({PRODUCT: 5})
    shop.place("o1", [(PRODUCT, 2)])
    shop.deliver_all()
    if is_dispatched:
        shop.confirm_booking("o1")
    shop.cancel("o1")
    assert remaining(history(shop).progress) == steps
