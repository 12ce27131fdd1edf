"""The price list follows inventory's log, in any order of delivery."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.orders.pricing import ListPrice, Prices, RequestedItem, evolve, priced
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.contracts import (
    OrderCreated,
    OrderItem,
    ProductCreated,
    ProductDeleted,
    ProductRestored,
    ProductUpdated,
)
from tests.support.history import recorded

CREATED = ProductCreated(product_id="p", name="Thing", description="", price=100)
CHEAPER = ProductUpdated(product_id="p", name="Thing II", description="", price=90)
DELETED = ProductDeleted(product_id="p")
RESTORED = ProductRestored(product_id="p", name="Thing II", description="", price=90)


def prices_after(events: list[RecordedEvent]) -> Prices:
    prices: Prices = {}
    for event in events:
        prices = evolve(prices, event)
    return prices


def log_of(*events: Event) -> list[RecordedEvent]:
    return [recorded(event, position=position) for position, event in enumerate(events, start=1)]


def test_item_gets_price_and_name_from_list():
    item = priced(prices_after(log_of(CREATED)), RequestedItem(product_id="p", quantity=3))
    assert item == OrderItem(product_id="p", name="Thing", quantity=3, price=100)


def test_deleted_product_keeps_name_but_is_unsold():
    prices = prices_after(log_of(CREATED, DELETED))
    assert prices["p"] == ListPrice(
        product_id="p", name="Thing", price=100, is_deleted=True, position=2
    )
    with pytest.raises(Rejected) as caught:
        priced(prices, RequestedItem(product_id="p", quantity=1))
    assert caught.value.code == "product-not-for-sale"


def test_product_created_again_is_sold_again():
    prices = prices_after(log_of(CREATED, DELETED, CREATED))
    assert priced(prices, RequestedItem(product_id="p", quantity=1)).price == 100


def test_restored_product_is_sold_at_its_price():
    prices = prices_after(log_of(CREATED, CHEAPER, DELETED, RESTORED))
    assert priced(prices, RequestedItem(product_id="p", quantity=1)).price == 90


def test_foreign_event_changes_no_price():
    prices = prices_after(log_of(CREATED))
    order = OrderCreated(order_id="o", user_id="u", items=(), total_amount=0, currency="JPY")
    assert evolve(prices, recorded(order)) is prices


EVENTS = st.lists(st.sampled_from([CREATED, CHEAPER, DELETED, RESTORED]), min_size=1, max_size=8)


@given(EVENTS, st.randoms(use_true_random=False), st.data())
def test_last_price_counts_in_any_delivery_order(events, random, data):
    log = log_of(*events)
    shuffled = [*log, *data.draw(st.lists(st.sampled_from(log), max_size=4))]
    random.shuffle(shuffled)
    listed, in_order = prices_after(shuffled)["p"], prices_after(log)["p"]
    assert (listed.position, listed.is_deleted) == (in_order.position, in_order.is_deleted)
    if not listed.is_deleted:
        assert listed == in_order
