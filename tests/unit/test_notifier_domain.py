import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.domain import (
    OWING,
    Command,
    Mailroom,
    Owe,
    RecordFailed,
    RecordSent,
    RecordSkipped,
    Status,
    Template,
    decide,
    evolve,
    mail_owed,
)
from notifier_service.handlers import FOR_A_DAY, MAIL, mails
from shared.contracts import (
    Event,
    EventDeadLettered,
    FailedItem,
    NotificationFailed,
    NotificationSent,
    NotificationSkipped,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    OrderItem,
    ShipmentInitiated,
)
from shared.contracts.recorded import Recorded
from shared.task import Drop, Schedule
from tests.support.history import fold, recorded

CREATED = OrderCreated(
    order_id="o1",
    user_id="user123",
    email="jane@example.com",
    locale="ja",
    items=(OrderItem(product_id="prod001", quantity=2, price=5000),),
    total_amount=10_000,
    currency="JPY",
)
NO_ADDRESS = msgspec.structs.replace(CREATED, email=None)
FAILED_ITEMS = (FailedItem(product_id="prod001", requested_quantity=2, available_quantity=1),)
CANCELLED = OrderCancelled(order_id="o1", reason="NO_STOCK", failed_items=FAILED_ITEMS)
COMPLETED = OrderCompleted(order_id="o1", tracking_number="T1")
INITIATED = ShipmentInitiated(shipment_id="s1", order_id="o1", shipping_address=None, items=())
FAILED = OrderFailed(order_id="o1", reason="CARRIER_DECLINED")
HEARD = recorded(COMPLETED)
DELIVERED = mail_owed(HEARD)

SENT = NotificationSent(
    notification_id=DELIVERED.notification_id,
    order_id="o1",
    event_id=HEARD.event_id,
    template="delivered",
    recipient="j***@example.com",
)


def given_events(*events: Event) -> Mailroom:
    return fold(evolve, Mailroom(), *events)


@pytest.mark.parametrize(
    ("event", "template"),
    [
        (CREATED, Template.CONFIRMATION),
        (INITIATED, Template.DISPATCHED),
        (COMPLETED, Template.DELIVERED),
        (CANCELLED, Template.CANCELLED),
        (FAILED, Template.FAILED),
    ],
)
def test_each_event_heard_owes_its_own_mail(event, template):
    heard = recorded(event)
    mail = mail_owed(heard)
    assert (mail.template, mail.order_id, mail.event_id) == (template, "o1", heard.event_id)
    assert isinstance(event, OWING)


def test_a_mail_keeps_what_only_its_event_knows():
    assert DELIVERED.tracking_number == "T1"
    cancelled = mail_owed(recorded(CANCELLED))
    assert (cancelled.reason, cancelled.failed_items) == ("NO_STOCK", FAILED_ITEMS)


def test_one_event_owes_one_mail_however_often_it_is_heard():
    assert mail_owed(HEARD) == DELIVERED


def test_two_events_of_one_kind_owe_two_mails():
    assert mail_owed(recorded(COMPLETED)).notification_id != DELIVERED.notification_id


def test_a_mail_the_server_took_is_sent_to_a_masked_address():
    assert decide(given_events(CREATED), RecordSent(mail=DELIVERED)) == [SENT]


def test_a_mail_given_up_says_why():
    [failed] = decide(given_events(CREATED), RecordFailed(mail=DELIVERED, error="550 no"))
    assert isinstance(failed, NotificationFailed)
    assert (failed.recipient, failed.error) == ("j***@example.com", "550 no")


def test_a_mail_about_an_order_never_heard_of_is_given_up_without_a_recipient():
    [failed] = decide(Mailroom(), RecordFailed(mail=DELIVERED, error="not known"))
    assert isinstance(failed, NotificationFailed)
    assert failed.recipient == ""
    room = evolve(Mailroom(), recorded(failed))
    assert room.notifications[DELIVERED.notification_id].recipient is None


def test_a_mail_to_nobody_is_skipped_as_soon_as_it_is_owed():
    [skipped] = decide(given_events(NO_ADDRESS), Owe(mail=DELIVERED))
    assert isinstance(skipped, NotificationSkipped)


def test_a_mail_to_somebody_waits_to_be_sent():
    assert decide(given_events(CREATED), Owe(mail=DELIVERED)) == []


def test_where_nothing_is_sent_a_mail_is_recorded_as_soon_as_it_is_owed():
    assert decide(given_events(CREATED), Owe(mail=DELIVERED), sends=False) == [SENT]


@pytest.mark.parametrize("sends", [True, False])
def test_a_mail_about_an_order_not_yet_known_waits(sends):
    assert decide(Mailroom(), Owe(mail=DELIVERED), sends=sends) == []


@pytest.mark.parametrize(
    "command",
    [
        Owe(mail=DELIVERED),
        RecordSent(mail=DELIVERED),
        RecordFailed(mail=DELIVERED, error="late"),
        RecordSkipped(mail=DELIVERED),
    ],
)
def test_the_first_outcome_counts(command):
    assert decide(given_events(CREATED, SENT), command, sends=False) == []


def test_an_owed_mail_is_due_at_once_with_all_it_needs():
    [schedule] = mails(given_events(CREATED), HEARD)
    assert isinstance(schedule, Schedule)
    assert (schedule.kind, schedule.key) == (MAIL, DELIVERED.notification_id)
    assert schedule.delay_seconds == 0
    assert msgspec.convert(schedule.payload, type(DELIVERED)) == DELIVERED


def test_a_mail_whose_outcome_is_known_is_not_due_again():
    assert mails(given_events(CREATED, SENT), HEARD) == ()


def test_an_outcome_settles_the_mail():
    settled = (Drop(kind=MAIL, key=DELIVERED.notification_id),)
    assert mails(given_events(CREATED, SENT), recorded(SENT, source="notifier")) == settled


def test_an_event_that_owes_nothing_makes_nothing_due():
    dead = EventDeadLettered(event_id="e1", key="o1", error="unreadable")
    assert mails(Mailroom(), recorded(dead, source="notifier")) == ()


def test_the_log_says_what_became_of_a_mail():
    told = recorded(SENT, position=7, source="notifier")
    entry = evolve(Mailroom(), told).notifications[DELIVERED.notification_id]
    assert (entry.status, entry.recipient) == (Status.SENT, "j***@example.com")
    assert (entry.position, entry.created_at) == (7, told.recorded_at)


def test_a_mail_is_tried_for_a_day():
    retry = FOR_A_DAY
    assert retry.within_seconds == 24 * 3600
    assert 0.5 <= retry.pause_seconds(0) <= 1
    assert retry.pause_seconds(30) <= 900


def commands(heard: list[Recorded]) -> st.SearchStrategy[Command]:
    owed = st.sampled_from([mail_owed(event) for event in heard])
    return st.one_of(
        st.builds(Owe, mail=owed),
        st.builds(RecordSent, mail=owed),
        st.builds(RecordFailed, mail=owed, error=st.text()),
        st.builds(RecordSkipped, mail=owed),
    )


@given(st.data(), st.booleans())
def test_whatever_is_repeated_each_mail_has_one_outcome_and_it_stays(data, sends):
    heard = [recorded(event) for event in (CREATED, INITIATED, COMPLETED, CANCELLED, FAILED)]
    room = Mailroom()
    said: list[Event] = []
    steps = st.one_of(st.sampled_from(heard), commands(heard))
    for step in data.draw(st.lists(steps, max_size=40)):
        if isinstance(step, Recorded):
            room = evolve(room, step)
            continue
        before = room.notifications
        for event in decide(room, step, sends=sends):
            said.append(event)
            room = evolve(room, recorded(event, source="notifier"))
        assert before.items() <= room.notifications.items()
    told = [event.notification_id for event in said]
    assert len(told) == len(set(told))
    assert set(told) == set(room.notifications)
