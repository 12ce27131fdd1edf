from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from order_service.domain import Command, OrderState, decide, evolve
from order_service.handlers import DELIVERY, schedule_deadlines
from order_service.orders.domain import (
    AcceptCancellation,
    CompleteOrder,
    ConfirmOrder,
    FailOrder,
    Order,
    PlaceOrder,
    RefuseCancellation,
    RejectOrder,
    ReportOverdue,
    RequestCancellation,
    ShipOrder,
    is_final,
)
from order_service.orders.limits import OrderLimits
from order_service.orders.pricing import RequestedItem
from shared.chassis.messages.event import Event
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.schedule import Cancel, Schedule
from shared.contracts import (
    Cancellation,
    DeliveryOverdue,
    FailedItem,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderItem,
    OrderResumed,
    OrderShipped,
    ProductCreated,
    ProductDeleted,
    ProductUpdated,
)
from shared.contracts.order import OrderStatus
from tests.support.history import fold, recorded

CREATED = OrderCreated(
    order_id="o1",
    user_id="user123",
    items=(OrderItem(product_id="prod001", name="Super Keyboard", quantity=2, price=5000),),
    total_amount=10_000,
    currency="JPY",
)
CONFIRMED = OrderConfirmed(order_id="o1")
SHIPPED = OrderShipped(order_id="o1", carrier="http", tracking_number="T1")
OVERDUE = DeliveryOverdue(order_id="o1")
COMPLETED = OrderCompleted(order_id="o1", tracking_number="T1")
FAILED = OrderFailed(order_id="o1", reason="CARRIER_DECLINED")
NO_STOCK = OrderCancelled(order_id="o1", reason="NO_STOCK")
CANCELLED = OrderCancelled(order_id="o1", reason="CUSTOMER", by="CUSTOMER")
EXPIRED = OrderCancelled(order_id="o1", reason="EXPIRED", by="DEADLINE")
ASKED_BY_CUSTOMER = OrderCancellationRequested(order_id="o1", reason="CUSTOMER", by="CUSTOMER")
ASKED_BY_CLOCK = OrderCancellationRequested(order_id="o1", reason="EXPIRED", by="DEADLINE")
RESUMED = OrderResumed(order_id="o1", reason="too late")
RESUMED_SHIPPED = replace(RESUMED, status=OrderStatus.SHIPPED)

CONFIRM = ConfirmOrder(order_id="o1")
SHORT = FailedItem(product_id="prod001", requested_quantity=2, available_quantity=1)
REJECT = RejectOrder(order_id="o1", failed_items=(SHORT,))
SHIP = ShipOrder(order_id="o1", carrier="http", tracking_number="T1")
REPORT = ReportOverdue(order_id="o1")
COMPLETE = CompleteOrder(order_id="o1", tracking_number="T1")
FAIL = FailOrder(order_id="o1", reason="CARRIER_DECLINED")
CANCEL = RequestCancellation(order_id="o1", reason="CUSTOMER")
EXPIRE = RequestCancellation(order_id="o1", reason="EXPIRED")
ACCEPT = AcceptCancellation(order_id="o1")
REFUSE = RefuseCancellation(order_id="o1", reason="too late")
REFUSE_DISPATCHED = RefuseCancellation(order_id="o1", reason="too late", dispatch=SHIP)

OF_EARLIER_RELEASE = (CONFIRM, REJECT, COMPLETE, FAIL, CANCEL, EXPIRE, ACCEPT, REFUSE)
FOLLOW_UPS = (*OF_EARLIER_RELEASE, SHIP, REPORT, REFUSE_DISPATCHED)
ENDS = (OrderCompleted, OrderFailed, OrderCancelled)

KEYBOARD = ProductCreated(product_id="prod001", name="Super Keyboard", description="", price=5000)
MOUSE = ProductCreated(product_id="prod002", name="Ergonomic Mouse", description="", price=3000)


def after(*events: Event) -> OrderState:
    return fold(evolve, OrderState(), *events)


def place(*items: RequestedItem) -> PlaceOrder:
    return PlaceOrder(order_id="o1", user_id="user123", items=items, currency="JPY")


def item(product_id: str, quantity: int, price: int | None = None) -> RequestedItem:
    return RequestedItem(product_id=product_id, quantity=quantity, price=price)


def refusal(state: OrderState, command: Command) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decide(state, command)
    return caught.value


def test_order_is_created_at_list_price():
    (created,) = decide(after(KEYBOARD, MOUSE), place(item("prod001", 2), item("prod002", 1)))
    assert created == OrderCreated(
        order_id="o1",
        status=OrderStatus.PENDING,
        user_id="user123",
        items=(
            OrderItem(product_id="prod001", name="Super Keyboard", quantity=2, price=5000),
            OrderItem(product_id="prod002", name="Ergonomic Mouse", quantity=1, price=3000),
        ),
        total_amount=13_000,
        currency="JPY",
    )


def test_client_price_other_than_list_is_rejected():
    refused = refusal(after(KEYBOARD), place(item("prod001", 1, price=1)))
    assert refused.code == "price-changed"
    assert refused.extra == {"productId": "prod001", "price": 5000}


def test_client_price_equal_to_list_is_accepted():
    (created,) = decide(after(KEYBOARD), place(item("prod001", 1, price=5000)))
    assert created.total_amount == 5000


def test_client_price_of_zero_is_compared():
    refused = refusal(after(KEYBOARD), place(item("prod001", 1, price=0)))
    assert refused.code == "price-changed"


@pytest.mark.parametrize(
    "history", [(), (KEYBOARD, ProductDeleted(product_id="prod001"))], ids=["unknown", "deleted"]
)
def test_order_of_unsold_product_is_rejected(history: tuple[Event, ...]):
    refused = refusal(after(*history), place(item("prod001", 1)))
    assert refused.code == "product-not-for-sale"
    assert refused.extra == {"productId": "prod001"}


@pytest.mark.parametrize(
    ("items", "extra"),
    [
        ([item("prod001", 4)], {"productId": "prod001", "maxUnits": 3}),
        ([item("prod001", 2), item("prod001", 2)], {"productId": "prod001", "maxUnits": 3}),
        ([item("prod001", 1)] * 3, {"maxLines": 2}),
    ],
    ids=["units", "units of two lines", "lines"],
)
def test_order_over_the_shops_limits_is_rejected(
    items: list[RequestedItem], extra: dict[str, object]
):
    limits, state = OrderLimits(lines=2, units=3), after(KEYBOARD, MOUSE)
    with pytest.raises(Rejected) as refused:
        decide(state, place(*items), limits)
    assert (refused.value.code, refused.value.extra) == ("order-too-large", extra)
    assert decide(state, place(item("prod001", 3), item("prod002", 3)), limits)


def test_changed_price_applies_to_new_orders_only():
    dearer = ProductUpdated(product_id="prod001", name="Keyboard", description="", price=6000)
    state = after(KEYBOARD, CREATED, dearer)
    assert decide(state, place(item("prod001", 1))) == []
    assert state.orders["o1"].total_amount == 10_000
    (created,) = decide(after(KEYBOARD, dearer), place(item("prod001", 1)))
    assert created.total_amount == 6000


def test_newest_price_counts_in_any_delivery_order():
    dearer = ProductUpdated(product_id="prod001", name="Keyboard", description="", price=6000)
    early, late = recorded(KEYBOARD, position=1), recorded(dearer, position=2)
    one_way = evolve(evolve(OrderState(), early), late)
    other_way = evolve(evolve(OrderState(), late), early)
    assert one_way.prices == other_way.prices
    assert one_way.prices["prod001"].price == 6000


def test_deletion_before_creation_prevents_sale():
    gone = recorded(ProductDeleted(product_id="prod001"), position=2)
    state = evolve(evolve(OrderState(), gone), recorded(KEYBOARD, position=1))
    assert refusal(state, place(item("prod001", 1))).code == "product-not-for-sale"


def test_repeated_place_order_creates_nothing():
    assert decide(after(KEYBOARD, CREATED), place(item("prod001", 2))) == []


TRANSITIONS = [
    ("PENDING", (), CONFIRM, [CONFIRMED]),
    (
        "PENDING",
        (),
        REJECT,
        [OrderCancelled(order_id="o1", reason="NO_STOCK", failed_items=(SHORT,))],
    ),
    ("PENDING", (), COMPLETE, [COMPLETED]),
    ("PENDING", (), FAIL, [FAILED]),
    ("PENDING", (), CANCEL, [ASKED_BY_CUSTOMER]),
    ("PENDING", (), EXPIRE, [ASKED_BY_CLOCK]),
    ("PENDING", (), SHIP, [SHIPPED]),
    ("PENDING", (), REPORT, []),
    ("PENDING", (), ACCEPT, []),
    ("PENDING", (), REFUSE, []),
    ("AWAITING_SHIPMENT", (CONFIRMED,), CONFIRM, []),
    ("AWAITING_SHIPMENT", (CONFIRMED,), REJECT, []),
    ("AWAITING_SHIPMENT", (CONFIRMED,), COMPLETE, [COMPLETED]),
    ("AWAITING_SHIPMENT", (CONFIRMED,), FAIL, [FAILED]),
    ("AWAITING_SHIPMENT", (CONFIRMED,), CANCEL, [ASKED_BY_CUSTOMER]),
    ("AWAITING_SHIPMENT", (CONFIRMED,), EXPIRE, [ASKED_BY_CLOCK]),
    ("AWAITING_SHIPMENT", (CONFIRMED,), SHIP, [SHIPPED]),
    ("AWAITING_SHIPMENT", (CONFIRMED,), REPORT, []),
    ("AWAITING_SHIPMENT", (CONFIRMED,), ACCEPT, []),
    ("AWAITING_SHIPMENT", (CONFIRMED,), REFUSE, []),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), CONFIRM, [CONFIRMED]),
    ("CANCELLING", (CONFIRMED, ASKED_BY_CUSTOMER), CONFIRM, []),
    ("CANCELLING", (ASKED_BY_CUSTOMER, CONFIRMED), CONFIRM, []),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), REJECT, [CANCELLED]),
    ("CANCELLING", (ASKED_BY_CLOCK,), REJECT, [EXPIRED]),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), COMPLETE, [COMPLETED]),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), FAIL, [FAILED]),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), CANCEL, []),
    ("CANCELLING", (ASKED_BY_CLOCK,), CANCEL, []),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), EXPIRE, [ASKED_BY_CUSTOMER]),
    ("CANCELLING", (ASKED_BY_CLOCK,), EXPIRE, [ASKED_BY_CLOCK]),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), ACCEPT, [CANCELLED]),
    ("CANCELLING", (ASKED_BY_CLOCK,), ACCEPT, [EXPIRED]),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), REFUSE, [RESUMED]),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), REFUSE_DISPATCHED, [SHIPPED, RESUMED]),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), SHIP, [SHIPPED]),
    ("CANCELLING", (ASKED_BY_CUSTOMER,), REPORT, []),
    ("CANCELLING", (ASKED_BY_CUSTOMER, SHIPPED), SHIP, []),
    ("CANCELLING", (ASKED_BY_CUSTOMER, SHIPPED), CONFIRM, []),
    ("CANCELLING", (ASKED_BY_CUSTOMER, SHIPPED), REFUSE_DISPATCHED, [RESUMED]),
    ("SHIPPED", (SHIPPED,), CONFIRM, []),
    ("SHIPPED", (CONFIRMED, SHIPPED), REJECT, []),
    ("SHIPPED", (CONFIRMED, SHIPPED), SHIP, []),
    ("SHIPPED", (CONFIRMED, SHIPPED), COMPLETE, [COMPLETED]),
    ("SHIPPED", (CONFIRMED, SHIPPED), FAIL, [FAILED]),
    ("SHIPPED", (CONFIRMED, SHIPPED), CANCEL, [ASKED_BY_CUSTOMER]),
    ("SHIPPED", (CONFIRMED, SHIPPED), EXPIRE, []),
    ("SHIPPED", (CONFIRMED, SHIPPED), ACCEPT, []),
    ("SHIPPED", (CONFIRMED, SHIPPED), REFUSE_DISPATCHED, []),
    ("SHIPPED", (CONFIRMED, SHIPPED), REPORT, [OVERDUE]),
    ("SHIPPED", (CONFIRMED, SHIPPED, OVERDUE), REPORT, []),
    ("SHIPPED", (CONFIRMED, SHIPPED, OVERDUE), COMPLETE, [COMPLETED]),
]


@pytest.mark.parametrize(("status", "history", "command", "expected"), TRANSITIONS)
def test_open_order_follows_transition_table(
    status: str, history: tuple[Event, ...], command: Command, expected: list[Event]
):
    state = after(CREATED, *history)
    assert state.orders["o1"].status == status
    events = decide(state, command)
    assert [replace(event, status=None) for event in events] == expected


@pytest.mark.parametrize(
    ("history", "status"),
    [
        ((COMPLETED,), OrderStatus.COMPLETED),
        ((FAILED,), OrderStatus.SHIPMENT_FAILED),
        ((NO_STOCK,), OrderStatus.CANCELLED_NO_STOCK),
        ((ASKED_BY_CUSTOMER, CANCELLED), OrderStatus.CANCELLED),
        ((ASKED_BY_CLOCK, EXPIRED), OrderStatus.EXPIRED),
    ],
)
def test_late_event_does_not_change_final_order(history: tuple[Event, ...], status: OrderStatus):
    state = after(CREATED, *history)
    assert state.orders["o1"].status is status
    for command in FOLLOW_UPS:
        if command is not CANCEL:
            assert decide(state, command) == []
    refused = refusal(state, CANCEL)
    assert refused.code == "order-final"


@pytest.mark.parametrize(
    ("history", "status"),
    [
        ((ASKED_BY_CUSTOMER, RESUMED), OrderStatus.PENDING),
        ((CONFIRMED, ASKED_BY_CUSTOMER, RESUMED), OrderStatus.AWAITING_SHIPMENT),
        ((ASKED_BY_CUSTOMER, CONFIRMED, RESUMED), OrderStatus.AWAITING_SHIPMENT),
        ((CONFIRMED, ASKED_BY_CUSTOMER, ASKED_BY_CUSTOMER, RESUMED), OrderStatus.AWAITING_SHIPMENT),
        ((SHIPPED, ASKED_BY_CUSTOMER, RESUMED_SHIPPED), OrderStatus.SHIPPED),
        ((ASKED_BY_CUSTOMER, SHIPPED, RESUMED_SHIPPED), OrderStatus.SHIPPED),
    ],
)
def test_refused_cancellation_restores_previous_status(
    history: tuple[Event, ...], status: OrderStatus
):
    order = after(CREATED, *history).orders["o1"]
    assert order.status is status
    assert (order.resume_status, order.cancellation) == (None, None)


def test_cancellation_of_unknown_order_is_rejected():
    refused = refusal(OrderState(), CANCEL)
    assert refused.code == "unknown-order"


def test_follow_up_of_unknown_order_raises():
    with pytest.raises(LookupError, match="ConfirmOrder"):
        decide(OrderState(), CONFIRM)


def test_cancellation_names_who_and_why():
    cancel = RequestCancellation(
        order_id="o1", reason="CUSTOMER", by_shop=True, explanation="broken", note="see ticket 7"
    )
    (asked,) = decide(after(CREATED), cancel)
    assert (asked.reason, asked.by) == ("CUSTOMER", "SHOP")
    state = after(CREATED, asked)
    cancellation = Cancellation(by="SHOP", reason="broken", note="see ticket 7")
    assert state.orders["o1"].cancellation == cancellation
    assert decide(state, EXPIRE) == [asked], "the deadline repeats the request as it was"
    (cancelled,) = decide(state, ACCEPT)
    assert (cancelled.reason, cancelled.by, cancelled.explanation) == ("CUSTOMER", "SHOP", "broken")
    assert "ticket" not in repr(cancelled)
    assert after(CREATED, asked, cancelled).orders["o1"].cancellation == cancellation


@pytest.mark.parametrize("end", [RESUMED, COMPLETED, FAILED], ids=lambda end: type(end).__name__)
def test_cancellation_that_did_not_happen_is_forgotten(end: Event):
    assert after(CREATED, ASKED_BY_CUSTOMER, end).orders["o1"].cancellation is None


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        (
            OrderCancellationRequested(order_id="o1", reason="CUSTOMER", note="too late"),
            Cancellation(by="CUSTOMER", reason="too late"),
        ),
        (
            OrderCancellationRequested(order_id="o1", reason="EXPIRED"),
            Cancellation(by="DEADLINE"),
        ),
    ],
    ids=["customer", "deadline"],
)
def test_earlier_cancellation_request_names_who_asked(
    requested: OrderCancellationRequested, expected: Cancellation
):
    assert after(CREATED, requested).orders["o1"].cancellation == expected


def test_order_keeps_its_end_reason():
    state = after(CREATED, *decide(after(CREATED), REJECT))
    order = state.orders["o1"]
    assert (order.reason, order.failed_items) == ("NO_STOCK", (SHORT,))


def test_every_event_of_open_order_moves_deadline():
    due = schedule_deadlines(900)(after(CREATED, CONFIRMED), recorded(CONFIRMED))
    assert list(due) == [Schedule(kind="deadline", key="o1", delay_seconds=900)]


@pytest.mark.parametrize(
    ("history", "seconds"),
    [
        ((), 5),
        ((CONFIRMED,), 900),
        ((CONFIRMED, ASKED_BY_CUSTOMER), 7),
        ((CONFIRMED, ASKED_BY_CLOCK, RESUMED), 900),
    ],
    ids=["pending", "awaiting", "cancelling", "resumed"],
)
def test_deadline_may_depend_on_order_status(history: tuple[Event, ...], seconds: float):
    by_status = {
        OrderStatus.PENDING: 5,
        OrderStatus.CANCELLING: 7,
        OrderStatus.AWAITING_SHIPMENT: None,
    }
    last = (CREATED, *history)[-1]
    (due,) = schedule_deadlines(900, by_status)(after(CREATED, *history), recorded(last))
    assert due == Schedule(kind="deadline", key="o1", delay_seconds=seconds)


@pytest.mark.parametrize(
    ("dispatched", "seconds"), [(100, 800), (899, 1), (2000, 0)], ids=["early", "late", "overdue"]
)
def test_delivery_deadline_counts_from_dispatch(dispatched: float, seconds: float):
    """A refused cancellation does not move it."""
    resumed = recorded(RESUMED_SHIPPED)
    shipped_at = resumed.recorded_at - timedelta(seconds=dispatched)
    state = after(CREATED, CONFIRMED, SHIPPED, ASKED_BY_CUSTOMER, RESUMED_SHIPPED)
    order = replace(state.orders["o1"], shipped_at=shipped_at)
    (due,) = schedule_deadlines(900)(replace(state, orders={"o1": order}), resumed)
    assert due == Schedule(kind="deadline", key="o1", delay_seconds=seconds, payload=DELIVERY)


def test_overdue_order_has_no_deadline():
    state = after(CREATED, SHIPPED, OVERDUE)
    assert state.orders["o1"].status is OrderStatus.SHIPPED
    assert list(schedule_deadlines(900)(state, recorded(OVERDUE))) == [
        Cancel(kind="deadline", key="o1")
    ]


def test_shipped_order_shows_carrier_and_tracking():
    order = after(CREATED, SHIPPED).orders["o1"]
    assert (order.carrier, order.tracking_number) == ("http", "T1")
    assert order.shipped_at == order.updated_at


def test_final_order_cancels_its_deadline():
    due = schedule_deadlines(900)(after(CREATED, COMPLETED), recorded(COMPLETED))
    assert list(due) == [Cancel(kind="deadline", key="o1")]


def test_foreign_event_moves_no_deadline():
    assert list(schedule_deadlines(900)(after(CREATED), recorded(KEYBOARD))) == []


@given(st.lists(st.sampled_from(FOLLOW_UPS), max_size=30))
def test_order_ends_at_most_once_by_any_commands(commands: list[Command]):
    state, log = after(CREATED), [CREATED]
    for command in commands:
        was_final = is_final(state.orders["o1"])
        try:
            events = decide(state, command)
        except Rejected:
            assert was_final
            continue
        assert not (was_final and events)
        state, log = fold(evolve, state, *events), [*log, *events]
    ends = [event for event in log if isinstance(event, ENDS)]
    assert len(ends) == is_final(state.orders["o1"])


@given(st.lists(st.sampled_from(FOLLOW_UPS), max_size=30))
def test_event_carries_the_resulting_status(commands: list[Command]):
    state = after(CREATED)
    for command in commands:
        try:
            events = decide(state, command)
        except Rejected:
            continue
        for event in events:
            state = fold(evolve, state, event)
            assert event.status is state.orders["o1"].status


@given(st.lists(st.sampled_from(OF_EARLIER_RELEASE), max_size=30))
def test_events_without_status_lead_to_the_same_order(commands: list[Command]):
    state = after(CREATED)
    for command in commands:
        try:
            events = decide(state, command)
        except Rejected:
            continue
        of_earlier_release = [replace(event, status=None) for event in events]
        previous, state = state, fold(evolve, state, *events)
        derived = fold(evolve, previous, *of_earlier_release)
        assert without_time(derived) == without_time(state)


def without_time(state: OrderState) -> Order:
    order = state.orders["o1"]
    return replace(order, updated_at=order.created_at)


@given(st.lists(st.sampled_from(FOLLOW_UPS), max_size=30))
def test_repeated_command_adds_nothing_unless_expiring(
    commands: list[Command],
):
    state = after(CREATED)
    for command in commands:
        try:
            state = fold(evolve, state, *decide(state, command))
            assert command is EXPIRE or decide(state, command) == []
        except Rejected:
            assert command is CANCEL
