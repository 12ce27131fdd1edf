"""The read models: the same for any order of delivery."""

from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from read_api.models import (
    Cart,
    Customer,
    Notification,
    NotificationStatus,
    Order,
    Product,
    Reservation,
    ReservationStatus,
    Shipment,
)
from read_api.projections import UnknownEntity
from read_api.store import PROJECTIONS
from shared.chassis.messages.cloudevents import MAX_EVENT_BYTES, encode
from shared.chassis.messages.received import MalformedMessage
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.checkpoints import Positioned, positioned, sequence
from shared.contracts import (
    CATALOG,
    CartCleared,
    CustomerRegistered,
    CustomerRoleChanged,
    ItemAddedToCart,
    ItemRemovedFromCart,
    OrderCancellationRequested,
    OrderConfirmed,
    OrderCreated,
    OrderItem,
    OrderResumed,
    StockReserved,
)
from shared.contracts.order import OrderStatus
from tests.support.histories import Log, deliveries, in_memory_shops, logs_of
from tests.support.history import recorded
from tests.support.in_memory_shop import InMemoryShop

CREATED = OrderCreated(
    order_id="o1",
    user_id="user123",
    items=(OrderItem(product_id="prod001", name="Keyboard", quantity=2, price=100),),
    total_amount=200,
    currency="JPY",
)
CONFIRMED = OrderConfirmed(order_id="o1")
REQUESTED = OrderCancellationRequested(order_id="o1", reason="CUSTOMER")
RESUMED = OrderResumed(order_id="o1", reason="the shipment is COMPLETED already")


class ReadModels(msgspec.Struct, frozen=True, kw_only=True):
    """The states of all projections."""

    orders: dict[str, Order] = {}
    customers: dict[str, Customer] = {}
    carts: dict[str, Cart] = {}
    products: dict[str, Product] = {}
    reservations: dict[str, Reservation] = {}
    shipments: dict[str, Shipment] = {}
    notifications: dict[str, Notification] = {}


def evolve(models: ReadModels, event: RecordedEvent) -> ReadModels:
    """The read models after an event, of all projections that consume it."""
    for projection in PROJECTIONS:
        if isinstance(event.event, projection.consumes):
            state = {
                field: getattr(models, field) for field in projection.initial.__struct_fields__
            }
            after = projection.evolve(type(projection.initial)(**state), event)
            models = msgspec.structs.replace(models, **msgspec.structs.asdict(after))
    return models


def view_of(batches: list[Log]) -> ReadModels:
    """The read models after these batches."""
    view, applied, early = ReadModels(), {}, []
    for batch in batches:
        ready, early, _ = sequence(applied, [*early, *positioned(batch, CATALOG)])
        view = reduce(evolve, [one.message for one in ready], view)
    assert early == []
    return view


def status_after(*events: Any) -> OrderStatus:
    return reduce(evolve, map(recorded, events), ReadModels()).orders["o1"].status


@given(st.data())
def test_read_models_ignore_delivery_order_and_repetition(data) -> None:
    logs = logs_of(data.draw(in_memory_shops()))
    assert view_of(data.draw(deliveries(logs))) == view_of(list(logs.values()))


def test_changed_role_is_in_the_read_model() -> None:
    registered = CustomerRegistered(user_id="ben", email="ben@example.com")
    changed = CustomerRoleChanged(user_id="ben", role="operator")
    log = [recorded(event, position=n) for n, event in enumerate([registered, changed], 1)]
    assert view_of([log]).customers["ben"].role == "operator"


@given(in_memory_shops())
def test_read_models_match_the_services(shop: InMemoryShop) -> None:
    view = view_of(list(logs_of(shop).values()))
    assert {name: order.status for name, order in view.orders.items()} == {
        name: order.status for name, order in shop.order.state.orders.items()
    }
    assert {
        name: (product.on_hand, product.reserved) for name, product in view.products.items()
    } == {
        name: (product.on_hand, product.reserved)
        for name, product in shop.inventory.state.products.items()
    }
    assert {name: reservation.status for name, reservation in view.reservations.items()} == {
        name: reservation.status for name, reservation in shop.inventory.state.reservations.items()
    }
    assert {name: sent.status for name, sent in view.shipments.items()} == {
        name: sent.status for name, sent in shop.shipping.state.shipments.items()
    }
    assert {
        name: [(item.product_id, item.quantity, item.price) for item in cart.items]
        for name, cart in view.carts.items()
    } == {
        name: [(line.product_id, line.quantity, line.price) for line in cart.lines]
        for name, cart in shop.order.state.carts.items()
    }
    assert {name: (one.email, one.name, one.locale) for name, one in view.customers.items()} == {
        name: (one.email, one.name, one.locale) for name, one in shop.order.state.customers.items()
    }


@given(in_memory_shops())
def test_only_completed_orders_have_a_completion_time(shop: InMemoryShop) -> None:
    for order in view_of(list(logs_of(shop).values())).orders.values():
        assert (order.completed_at is not None) == (order.status is OrderStatus.COMPLETED)


def test_confirmed_stock_keeps_order_cancelling() -> None:
    assert status_after(CREATED, REQUESTED, CONFIRMED) is OrderStatus.CANCELLING


def test_resumed_order_has_its_previous_status() -> None:
    assert status_after(CREATED, REQUESTED, RESUMED) is OrderStatus.PENDING
    resumed = status_after(CREATED, REQUESTED, CONFIRMED, RESUMED)
    assert resumed is OrderStatus.AWAITING_SHIPMENT


def cart_after(*events: Any) -> list[tuple[str, int, int]] | None:
    carts = reduce(evolve, map(recorded, events), ReadModels()).carts
    cart = carts.get("jane")
    return cart and [(item.product_id, item.quantity, item.price) for item in cart.items]


def added(product_id: str, quantity: int, price: int) -> ItemAddedToCart:
    return ItemAddedToCart(user_id="jane", product_id=product_id, quantity=quantity, price=price)


def removed(product_id: str, quantity: int, price: int) -> ItemRemovedFromCart:
    return ItemRemovedFromCart(
        user_id="jane", product_id=product_id, quantity=quantity, price=price
    )


def test_cart_has_its_lines_at_latest_prices() -> None:
    filled = (added("lamp", 2, 100), added("chair", 1, 50), added("lamp", 3, 110))
    assert cart_after(*filled) == [("lamp", 5, 110), ("chair", 1, 50)]
    assert cart_after(*filled, removed("lamp", 1, 90)) == [("lamp", 4, 90), ("chair", 1, 50)]
    assert cart_after(*filled, removed("lamp", 5, 110)) == [("chair", 1, 50)]
    assert cart_after(*filled, CartCleared(user_id="jane"), added("desk", 1, 7)) == [("desk", 1, 7)]


def test_empty_cart_is_no_cart() -> None:
    assert cart_after(CartCleared(user_id="jane")) is None
    assert cart_after(added("lamp", 1, 1), CartCleared(user_id="jane", order_id="o1")) is None
    assert cart_after(added("lamp", 1, 1), removed("lamp", 1, 1)) is None


def test_resent_notification_replaces_the_failure() -> None:
    view = view_of([logs_of(InMemoryShop({}))["notifier"]])
    assert view.notifications["n1"].status is NotificationStatus.SKIPPED
    assert view.notifications["n2"].status is NotificationStatus.SENT
    assert view.notifications["n2"].error is None


def test_reservation_counts_against_its_products() -> None:
    shop = InMemoryShop({"prod001": 5})
    shop.place("o1", [("prod001", 2)])
    shop.deliver_all()
    view = view_of(list(logs_of(shop).values()))
    assert view.reservations["o1"].status is ReservationStatus.RESERVED
    assert (view.products["prod001"].on_hand, view.products["prod001"].reserved) == (5, 2)


def test_event_of_unknown_entity_raises() -> None:
    with pytest.raises(UnknownEntity, match="o1"):
        evolve(ReadModels(), recorded(CONFIRMED))
    with pytest.raises(UnknownEntity):
        evolve(ReadModels(), recorded(StockReserved(order_id="o1", items=CREATED.items)))


def numbered(*positions: int) -> list[Positioned]:
    events = [recorded(CONFIRMED, position=position) for position in positions]
    return positioned(events, CATALOG)


def test_event_after_gap_waits_for_missing_position() -> None:
    applied = {"order": 4}
    ready, early, _ = sequence(applied, numbered(7, 6))
    assert (ready, applied) == ([], {"order": 4})
    ready, early, _ = sequence(applied, [*early, *numbered(5)])
    assert [one.position for one in ready] == [5, 6, 7]
    assert (early, applied) == ([], {"order": 7})


def test_sources_do_not_wait_for_each_other() -> None:
    [other] = positioned([recorded(CONFIRMED, source="shipping", position=1)], CATALOG)
    ready, early, _ = sequence({}, [*numbered(2), other])
    assert ready == [other]
    assert [one.position for one in early] == [2]


def test_first_of_diverging_events_is_applied() -> None:
    first, second = numbered(2, 2)
    assert sequence({"order": 1}, [first, second]) == ([first], [], [second])
    assert sequence({}, [first, second]) == ([], [first], [second])


def unreadable(at: str = "shop.order.o1.order_mislaid", /, **changes: Any) -> MalformedMessage:
    """An event of a type that we do not know, with some of its envelope changed."""
    envelope = msgspec.json.decode(encode(recorded(CONFIRMED, position=9)))
    envelope |= {"type": "OrderMislaid", "dataschema": "urn:quadrille:event:OrderMislaid:1"}
    envelope = {name: value for name, value in (envelope | changes).items() if value is not None}
    return MalformedMessage(subject=at, body=msgspec.json.encode(envelope), error="unknown")


@pytest.mark.parametrize(
    "message",
    [
        unreadable(),
        unreadable(
            "shop.order.o1.order_confirmed",
            type="OrderConfirmed",
            dataschema="urn:quadrille:event:OrderConfirmed:2",
        ),
        unreadable(causationid="e1", colour="an extension"),
    ],
    ids=["unknown type", "later schema version", "extension attribute"],
)
def test_event_of_newer_release_keeps_its_position(message: MalformedMessage) -> None:
    [one] = positioned([message], CATALOG)
    assert (one.source, one.position) == ("order", 9)


UNPLACED = {
    "no JSON": MalformedMessage(
        subject="shop.order.o1.order_created", body=b"nonsense", error="no JSON"
    ),
    "too deep": MalformedMessage(subject="shop.order.o1.a", body=b"[" * 5000, error="too deep"),
    "claim alone": MalformedMessage(
        subject="shop.order.o1.order_mislaid",
        body=b'{"source":"order","sequence":"000000000001"}',
        error="incomplete",
    ),
    "position of 20 digits": unreadable(sequence="9" * 20),
    "position 0": unreadable(sequence="0" * 12),
    "subject of another service": unreadable("shop.shipping.o1.order_mislaid"),
    "subject of another entity": unreadable("shop.order.o2.order_mislaid"),
    "subject of another type": unreadable("shop.order.o1.order_found"),
    "subject in two tokens": unreadable("shop.order.o1.x.order_mislaid", subject="o1.x"),
    "source without a log": unreadable("shop.read.o1.order_mislaid", source="read"),
    "type of another service": unreadable(
        "shop.order.o1.stock_reserved",
        type="StockReserved",
        dataschema="urn:quadrille:event:StockReserved:9",
    ),
    "schema of another type": unreadable(dataschema="urn:quadrille:event:OrderFound:1"),
    "schema without a version": unreadable(dataschema="urn:quadrille:event:OrderMislaid:"),
    "another CloudEvents version": unreadable(specversion="2.0"),
    "no id": unreadable(id=None),
    "id unfit for a path": unreadable(id="a/b"),
    "no time": unreadable(time=None),
    "no correlation id": unreadable(correlationid=None),
    "no data": unreadable(data=None),
    "too long": unreadable(data={"reason": "x" * MAX_EVENT_BYTES}),
}


@pytest.mark.parametrize("message", UNPLACED.values(), ids=UNPLACED)
def test_incomplete_or_inconsistent_envelope_has_no_position(message: MalformedMessage) -> None:
    assert positioned([message], CATALOG) == []
