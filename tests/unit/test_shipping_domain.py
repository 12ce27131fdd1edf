import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quadrille.launcher import sample_catalogue
from shared.chassis.messages.event import Event
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.schedule import Cancel, Schedule
from shared.contracts import (
    Address,
    BookingDelayed,
    LineItem,
    OrderCreated,
    OrderItem,
    OrderNudged,
    ShipmentCancellationRefused,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
    StockReserved,
)
from shared.settings import ShopSettings
from shipping_service.app import carriers_of
from shipping_service.carriers import Accepted, Booking, CarrierUnavailable, Declined, Delivered
from shipping_service.carriers.simulated import SimulatedCarrier
from shipping_service.domain import (
    CancelShipment,
    Command,
    CompleteShipment,
    DispatchShipment,
    FailShipment,
    RepeatOutcome,
    ReportDelay,
    Settlement,
    SettleShipment,
    ShipmentStatus,
    ShippingState,
    StartShipment,
    decide,
    evolve,
)
from shipping_service.handlers import BOOKING, OUTCOME, UNAVAILABLE, WITHDRAWAL, schedule_bookings
from tests.support.addresses import ADDRESS
from tests.support.history import fold, recorded

LINES = (LineItem(product_id="prod001", quantity=2),)
CREATED = OrderCreated(
    order_id="o1",
    user_id="user123",
    items=(OrderItem(product_id="prod001", quantity=2, price=5000),),
    total_amount=10_000,
    currency="JPY",
    shipping_address=ADDRESS,
)
RESERVED = StockReserved(order_id="o1", items=LINES)
INITIATED = ShipmentInitiated(
    shipment_id="s1", order_id="o1", carrier="simulated", shipping_address=ADDRESS, items=LINES
)
COMPLETED = ShipmentCompleted(shipment_id="s1", order_id="o1", tracking_number="T1")
FAILED = ShipmentFailed(shipment_id="s1", order_id="o1", reason="CARRIER_DECLINED", items=LINES)
CANCELLED = ShipmentCancelled(order_id="o1", shipment_id="s1", reason="CUSTOMER")
CANCELLED_EARLY = ShipmentCancelled(order_id="o1", reason="CUSTOMER")

START = StartShipment(order_id="o1", shipment_id="s1", carrier="simulated")
DELAY = ReportDelay(order_id="o1", attempts=3)
COMPLETE = CompleteShipment(order_id="o1", tracking_number="T1")
FAIL = FailShipment(order_id="o1", reason="CARRIER_DECLINED")
CANCEL = CancelShipment(order_id="o1", reason="CUSTOMER")

STARTED = (CREATED, RESERVED, INITIATED)


def after(*events: Event) -> ShippingState:
    return fold(evolve, ShippingState(), *events)


@pytest.mark.parametrize("history", [(CREATED, RESERVED), (RESERVED, CREATED)])
def test_shipment_starts_with_address_and_stock_known(
    history: tuple[Event, ...],
):
    assert decide(after(*history), START) == [INITIATED]


@pytest.mark.parametrize("history", [(), (CREATED,), (RESERVED,)])
def test_shipment_does_not_start_early(history: tuple[Event, ...]):
    assert decide(after(*history), START) == []


def test_order_without_address_is_shipped():
    created = OrderCreated(
        order_id="o1", user_id="user123", items=(), total_amount=0, currency="JPY"
    )
    (initiated,) = decide(after(created, RESERVED), START)
    assert initiated.shipping_address is None


@pytest.mark.parametrize("end", [None, COMPLETED, FAILED, CANCELLED])
def test_shipment_starts_once(end: Event | None):
    state = after(*STARTED, *([end] if end else []))
    assert decide(state, StartShipment(order_id="o1", shipment_id="s2")) == []


def test_shipment_cancelled_early_never_starts():
    state = after(CREATED, *decide(after(CREATED), CANCEL), RESERVED)
    assert state.shipments["o1"].status is ShipmentStatus.CANCELLED
    assert decide(state, START) == []


@pytest.mark.parametrize(("command", "expected"), [(COMPLETE, COMPLETED), (FAIL, FAILED)])
def test_carrier_outcome_ends_the_shipment(command: Command, expected: Event):
    assert decide(after(*STARTED), command) == [expected]


def test_delay_is_reported_until_the_carrier_answers():
    delayed = BookingDelayed(shipment_id="s1", order_id="o1", attempts=3)
    assert decide(after(*STARTED), DELAY) == [delayed]
    started = after(*STARTED)
    assert evolve(started, recorded(delayed)) is started
    for history in [(), *((*STARTED, end) for end in (DISPATCHED, COMPLETED, FAILED, CANCELLED))]:
        assert decide(after(*history), DELAY) == []


@pytest.mark.parametrize("end", [COMPLETED, FAILED, CANCELLED])
@pytest.mark.parametrize("command", [COMPLETE, FAIL])
def test_second_carrier_outcome_changes_nothing(end: Event, command: Command):
    assert decide(after(*STARTED, end), command) == []


@pytest.mark.parametrize("command", [COMPLETE, FAIL])
def test_carrier_outcome_after_early_cancellation_changes_nothing(command: Command):
    assert decide(after(CANCELLED_EARLY), command) == []


def test_carrier_outcome_without_shipment_raises():
    with pytest.raises(LookupError, match="has no shipment"):
        decide(after(CREATED), COMPLETE)


@pytest.mark.parametrize(
    ("history", "answer"),
    [
        ((), CANCELLED_EARLY),
        ((CREATED,), CANCELLED_EARLY),
        ((RESERVED,), CANCELLED_EARLY),
        (STARTED, CANCELLED),
        ((*STARTED, CANCELLED), CANCELLED),
        ((CANCELLED_EARLY,), CANCELLED_EARLY),
    ],
)
def test_cancellation_before_dispatch_is_accepted(history: tuple[Event, ...], answer: Event):
    assert decide(after(*history), CANCEL) == [answer]


def test_repeated_cancellation_keeps_first_reason():
    (again,) = decide(after(*STARTED, CANCELLED), CancelShipment(order_id="o1", reason="EXPIRED"))
    assert again.reason == "CUSTOMER"


@pytest.mark.parametrize("end", [COMPLETED, FAILED])
def test_late_cancellation_is_refused_and_outcome_repeated(end: Event):
    refused, repeated = decide(after(*STARTED, end), CANCEL)
    assert isinstance(refused, ShipmentCancellationRefused)
    assert repeated == end


def test_failed_shipment_names_its_items():
    (failed,) = decide(after(*STARTED), FAIL)
    assert failed.items == LINES


CARRIERS = carriers_of(ShopSettings(carrier_min_delay_seconds=5, carrier_max_delay_seconds=5))


WITHDRAW = Schedule(kind=WITHDRAWAL, key="s1", payload={"carrier": "simulated"})


def test_initiated_shipment_is_booked_after_carrier_delay():
    due = schedule_bookings(CARRIERS)(after(*STARTED), recorded(INITIATED))
    [booking] = due
    assert (booking.kind, booking.key, booking.delay_seconds) == (BOOKING, "o1", 2.5)
    assert msgspec.convert(booking.payload, Booking).items == LINES


def test_cancelled_shipment_is_withdrawn_not_booked():
    due = schedule_bookings(CARRIERS)(after(*STARTED, CANCELLED), recorded(CANCELLED))
    assert list(due) == [Cancel(kind=BOOKING, key="o1"), WITHDRAW]


def test_only_unclear_failed_bookings_are_withdrawn():
    unclear = msgspec.structs.replace(FAILED, reason=UNAVAILABLE)
    due = schedule_bookings(CARRIERS)(after(*STARTED, unclear), recorded(unclear))
    assert list(due) == [WITHDRAW]
    assert schedule_bookings(CARRIERS)(after(*STARTED, FAILED), recorded(FAILED)) == ()


DISPATCH = DispatchShipment(order_id="o1", carrier="http", reference="ACME-1")
DISPATCHED = ShipmentDispatched(shipment_id="s1", order_id="o1", carrier="http", reference="ACME-1")


def test_dispatched_shipment_cannot_be_cancelled():
    assert decide(after(*STARTED), DISPATCH) == [DISPATCHED]
    state = after(*STARTED, DISPATCHED)
    assert state.shipments["o1"].status is ShipmentStatus.DISPATCHED
    [answer] = decide(state, CANCEL)
    assert isinstance(answer, ShipmentCancellationRefused)
    assert (answer.shipment_status, answer.carrier) == ("DISPATCHED", "http")


def test_booking_confirmed_after_cancellation_is_cancelled_again():
    [again] = decide(after(*STARTED, CANCELLED), DISPATCH)
    assert isinstance(again, ShipmentCancelled)
    assert again.shipment_id == "s1"


@pytest.mark.parametrize("outcome", [COMPLETE, FAIL])
def test_dispatched_shipment_ends_by_carrier_outcome(outcome: Command):
    [end] = decide(after(*STARTED, DISPATCHED), outcome)
    assert isinstance(end, ShipmentCompleted | ShipmentFailed)
    assert decide(after(*STARTED, DISPATCHED, end), outcome) == []


STEPS = st.lists(
    st.sampled_from([CREATED, RESERVED, START, DISPATCH, COMPLETE, FAIL, CANCEL]), max_size=25
)


@given(STEPS)
def test_shipment_starts_once_and_ends_one_way(
    steps: list[Event | Command],
):
    state, log = ShippingState(), []
    for step in steps:
        if isinstance(step, Event):
            state = fold(evolve, state, step)
        elif step in {DISPATCH, COMPLETE, FAIL} and "o1" not in state.shipments:
            continue
        else:
            events = decide(state, step)
            state, log = fold(evolve, state, *events), [*log, *events]
    initiated = [event for event in log if isinstance(event, ShipmentInitiated)]
    ended = [event for event in log if isinstance(event, ShipmentCompleted | ShipmentFailed)]
    cancelled = [event for event in log if isinstance(event, ShipmentCancelled)]
    dispatched = [event for event in log if isinstance(event, ShipmentDispatched)]
    assert len(initiated) <= 1
    assert len(dispatched) <= len(initiated)
    assert len({msgspec.json.encode(event) for event in ended}) <= len(initiated), (
        "repeated unchanged"
    )
    assert not (ended and cancelled)
    assert not (dispatched and cancelled)


async def test_simulated_carrier_is_deterministic():
    settings = ShopSettings(carrier_success_rate=0.5, carrier_seed="any")
    orders = [f"order-{number}" for number in range(200)]
    first = [await SimulatedCarrier(settings).book(_booking(order), 0) for order in orders]
    second = [
        await SimulatedCarrier(settings).book(_booking(order), 3) for order in reversed(orders)
    ]
    assert first == second[::-1]
    accepted = [answer for answer in first if isinstance(answer, Accepted)]
    assert 70 < len(accepted) < 130
    assert len({answer.tracking_number for answer in accepted}) == len(accepted)


async def test_simulated_carrier_follows_its_rates():
    declining = SimulatedCarrier(ShopSettings(carrier_success_rate=0))
    assert await declining.book(_booking("o1"), 0) == Declined(reason="CARRIER_DECLINED")
    hiding = SimulatedCarrier(ShopSettings(carrier_outage_rate=1))
    with pytest.raises(CarrierUnavailable):
        await hiding.book(_booking("o1"), 0)


async def test_printed_sample_order_is_always_accepted():
    address = msgspec.convert(sample_catalogue.ADDRESS, Address)
    rarely = SimulatedCarrier(ShopSettings(carrier_success_rate=0.001))
    for number in range(50):
        booking = replace(_booking(f"o{number}"), shipping_address=address)
        assert isinstance(await rarely.book(booking, 0), Accepted)
    others = [await rarely.book(_booking(f"o{number}"), 0) for number in range(50)]
    assert sum(isinstance(answer, Declined) for answer in others) > 40
    never = SimulatedCarrier(ShopSettings(carrier_success_rate=0))
    assert isinstance(await never.book(booking, 0), Declined)


@given(st.integers().map(str))
def test_simulated_carrier_delay_is_within_settings(order_id: str):
    carrier = SimulatedCarrier(
        ShopSettings(carrier_min_delay_seconds=3, carrier_max_delay_seconds=7)
    )
    until_dispatch = carrier.delay_seconds(order_id)
    assert 3 <= until_dispatch * 2 <= 7
    assert carrier.outcome_seconds(order_id) == until_dispatch


async def test_simulated_parcel_keeps_its_tracking_number():
    carrier = SimulatedCarrier(ShopSettings(carrier_success_rate=1))
    accepted = await carrier.book(_booking("o1"), 0)
    assert isinstance(accepted, Accepted)
    number = accepted.tracking_number
    assert number == accepted.reference
    assert await carrier.outcome("o1") == Delivered(tracking_number=str(number))


def test_silent_carrier_is_not_asked_for_outcome():
    carriers = carriers_of(ShopSettings(carrier_silent_rate=1))
    dispatched = replace(DISPATCHED, carrier="simulated")
    schedule = schedule_bookings(carriers)
    assert list(schedule(after(*STARTED, dispatched), recorded(dispatched))) == []


def test_dispatched_shipment_has_its_outcome_scheduled():
    dispatched = replace(DISPATCHED, carrier="simulated")
    state = after(*STARTED, dispatched)
    due = Schedule(kind=OUTCOME, key="o1", delay_seconds=2.5, payload={"carrier": "simulated"})
    schedule = schedule_bookings(CARRIERS)
    assert list(schedule(state, recorded(dispatched))) == [due]
    nudged = schedule(state, recorded(OrderNudged(order_id="o1")))
    assert list(nudged) == [replace(due, only_if_missing=True)]
    http = after(*STARTED, DISPATCHED)
    assert list(schedule(http, recorded(DISPATCHED))) == []


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("delivered", replace(COMPLETED, tracking_number="ACME-1", note="N")),
        ("lost", replace(FAILED, reason="LOST", note="N")),
        ("returned", replace(FAILED, reason="RETURNED", note="N")),
    ],
)
def test_operator_settles_dispatched_shipment(outcome: Settlement, expected: Event):
    settle = SettleShipment(order_id="o1", outcome=outcome, note="N")
    assert decide(after(*STARTED, DISPATCHED), settle) == [expected]
    settled = after(*STARTED, DISPATCHED, expected)
    assert settled.shipments["o1"].note == "N"
    assert decide(settled, settle) == [expected]
    assert decide(settled, RepeatOutcome(order_id="o1")) == [expected]


def test_settled_delivery_keeps_carriers_tracking_number():
    with_number = replace(DISPATCHED, tracking_number="T-9")
    settle = SettleShipment(order_id="o1", outcome="delivered")
    [completed] = decide(after(*STARTED, with_number), settle)
    assert completed.tracking_number == "T-9"


@pytest.mark.parametrize(
    ("history", "code"),
    [
        ((), "unknown-shipment"),
        ((CANCELLED_EARLY,), "unknown-shipment"),
        (STARTED, "shipment-not-dispatched"),
        ((*STARTED, CANCELLED), "shipment-ended"),
        ((*STARTED, FAILED), "shipment-ended"),
        ((*STARTED, COMPLETED), "shipment-ended"),
    ],
)
def test_shipment_in_another_status_is_not_settled(history: tuple[Event, ...], code: str):
    settle = SettleShipment(order_id="o1", outcome="lost")
    with pytest.raises(Rejected) as rejected:
        decide(after(*history), settle)
    assert rejected.value.code == code


def test_outcome_is_repeated_only_if_there_is_one():
    repeat = RepeatOutcome(order_id="o1")
    assert decide(after(*STARTED, COMPLETED), repeat) == [COMPLETED]
    for history in ((), STARTED, (*STARTED, DISPATCHED), (*STARTED, CANCELLED)):
        assert decide(after(*history), repeat) == []


def _booking(order_id: str) -> Booking:
    return Booking(shipment_id=f"s-{order_id}", order_id=order_id, items=LINES)
