from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier_service.domain import (
    Command,
    CustomerNotReceived,
    NotificationStatus,
    NotifierState,
    OrderNotReceived,
    RecordFailed,
    RecordSent,
    RecordSkipped,
    Resend,
    SettleMailAtOnce,
    decide,
    evolve,
    with_recipient,
)
from notifier_service.handlers import FOR_A_DAY, MAIL, schedule_mails
from notifier_service.mails import MAILED_EVENTS, Template, mail_for
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.schedule import Cancel, Schedule
from shared.chassis.messages.system_events import EventDeadLettered
from shared.contracts import (
    CustomerRegistered,
    CustomerUpdated,
    FailedItem,
    NotificationFailed,
    NotificationResendRequested,
    NotificationSent,
    NotificationSkipped,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    OrderItem,
    ShipmentDispatched,
)
from shared.contracts.order import CancelledBy
from tests.support.history import fold, recorded

CREATED = OrderCreated(
    order_id="o1",
    user_id="user123",
    guest=True,
    email="jane@example.com",
    locale="ja",
    items=(OrderItem(product_id="prod001", quantity=2, price=5000),),
    total_amount=10_000,
    currency="JPY",
)
NO_ADDRESS = msgspec.structs.replace(CREATED, email=None)
OF_JANE = msgspec.structs.replace(NO_ADDRESS, user_id="jane", guest=False, locale=None)
JANE = CustomerRegistered(user_id="jane", email="jane@example.org", locale="ja")
FAILED_ITEMS = (FailedItem(product_id="prod001", requested_quantity=2, available_quantity=1),)
CANCELLED = OrderCancelled(order_id="o1", reason="NO_STOCK", failed_items=FAILED_ITEMS)
COMPLETED = OrderCompleted(order_id="o1", tracking_number="T1")
DISPATCHED = ShipmentDispatched(
    shipment_id="s1", order_id="o1", carrier="http", reference="R1", tracking_number="T1"
)
FAILED = OrderFailed(order_id="o1", reason="CARRIER_DECLINED")
CONSUMED = recorded(COMPLETED)
DELIVERED = mail_for(CONSUMED)

SENT = NotificationSent(
    notification_id=DELIVERED.notification_id,
    order_id="o1",
    event_id=CONSUMED.event_id,
    template="delivered",
    recipient="j***@example.com",
)


def given_events(*events: Event) -> NotifierState:
    return fold(evolve, NotifierState(), *events)


@pytest.mark.parametrize(
    ("event", "template"),
    [
        (CREATED, Template.CONFIRMATION),
        (DISPATCHED, Template.DISPATCHED),
        (COMPLETED, Template.DELIVERED),
        (CANCELLED, Template.CANCELLED),
        (FAILED, Template.FAILED),
    ],
)
def test_event_requests_its_own_mail(event, template):
    consumed = recorded(event)
    mail = mail_for(consumed)
    assert (mail.template, mail.order_id, mail.event_id) == (template, "o1", consumed.event_id)
    assert isinstance(event, MAILED_EVENTS)


def test_mail_keeps_data_of_its_event():
    assert DELIVERED.tracking_number == "T1"
    cancelled = mail_for(recorded(CANCELLED))
    assert (cancelled.reason, cancelled.failed_items) == ("NO_STOCK", FAILED_ITEMS)


@pytest.mark.parametrize(("by", "explanation"), [("SHOP", "broken"), ("CUSTOMER", None)])
def test_only_the_shops_words_are_mailed(by: CancelledBy, explanation: str | None):
    event = OrderCancelled(order_id="o1", reason="CUSTOMER", by=by, explanation="broken")
    mail = mail_for(recorded(event))
    assert (mail.cancelled_by, mail.explanation) == (by, explanation)


def test_redelivered_event_requests_one_mail():
    assert mail_for(CONSUMED) == DELIVERED


def test_two_equal_events_request_two_mails():
    assert mail_for(recorded(COMPLETED)).notification_id != DELIVERED.notification_id


def test_sent_mail_records_a_masked_recipient():
    assert decide(
        given_events(CREATED), RecordSent(mail=DELIVERED, recipient="jane@example.com")
    ) == [SENT]


def test_failed_mail_records_the_error():
    [failed] = decide(given_events(CREATED), RecordFailed(mail=DELIVERED, error="550 no"))
    assert isinstance(failed, NotificationFailed)
    assert (failed.recipient, failed.error) == ("j***@example.com", "550 no")


def test_failed_mail_without_order_has_no_recipient():
    [failed] = decide(NotifierState(), RecordFailed(mail=DELIVERED, error="not known"))
    assert isinstance(failed, NotificationFailed)
    assert failed.recipient == ""
    state = evolve(NotifierState(), recorded(failed))
    assert state.notifications[DELIVERED.notification_id].recipient is None


def test_mail_without_recipient_is_skipped():
    [skipped] = decide(given_events(NO_ADDRESS), SettleMailAtOnce(mail=DELIVERED))
    assert isinstance(skipped, NotificationSkipped)


@pytest.mark.parametrize("state", [NotifierState(), given_events(CREATED)])
def test_mail_of_too_old_event_is_skipped(state: NotifierState):
    day = timedelta(days=1)
    late = SettleMailAtOnce(mail=DELIVERED, age=day + timedelta(seconds=1))
    [skipped] = decide(state, late, max_age=day)
    assert isinstance(skipped, NotificationSkipped)
    assert skipped.reason == "TOO_OLD"
    notifications = evolve(state, recorded(skipped)).notifications
    assert notifications[DELIVERED.notification_id].skip_reason == "TOO_OLD"
    assert decide(state, replace(late, age=day), max_age=day) == []
    assert decide(state, late) == []


def test_mail_with_recipient_waits_for_sending():
    assert decide(given_events(CREATED), SettleMailAtOnce(mail=DELIVERED)) == []


def test_disabled_smtp_records_mail_as_sent():
    assert decide(given_events(CREATED), SettleMailAtOnce(mail=DELIVERED), sends=False) == [SENT]


@pytest.mark.parametrize("sends", [True, False])
def test_mail_for_unknown_order_waits(sends):
    assert decide(NotifierState(), SettleMailAtOnce(mail=DELIVERED), sends=sends) == []


@pytest.mark.parametrize(
    "command",
    [
        SettleMailAtOnce(mail=DELIVERED),
        RecordSent(mail=DELIVERED, recipient="jane@example.com"),
        RecordFailed(mail=DELIVERED, error="late"),
        RecordSkipped(mail=DELIVERED),
    ],
)
def test_first_mail_outcome_counts(command):
    assert decide(given_events(CREATED, SENT), command, sends=False) == []


def test_requested_mail_is_scheduled_at_once():
    [schedule] = schedule_mails(given_events(CREATED), CONSUMED)
    assert isinstance(schedule, Schedule)
    assert (schedule.kind, schedule.key) == (MAIL, DELIVERED.notification_id)
    assert schedule.delay_seconds == 0
    assert msgspec.convert(schedule.payload, type(DELIVERED)) == DELIVERED


def test_settled_mail_is_not_scheduled_again():
    assert schedule_mails(given_events(CREATED, SENT), CONSUMED) == ()


def test_mail_outcome_cancels_its_task():
    settled = (Cancel(kind=MAIL, key=DELIVERED.notification_id),)
    assert schedule_mails(given_events(CREATED, SENT), recorded(SENT, source="notifier")) == settled


def test_event_without_mail_schedules_nothing():
    dead = EventDeadLettered(event_id="e1", key="o1", error="unreadable")
    assert schedule_mails(NotifierState(), recorded(dead, source="notifier")) == ()


def test_notification_records_the_mail_outcome():
    sent = recorded(SENT, position=7, source="notifier")
    entry = evolve(NotifierState(), sent).notifications[DELIVERED.notification_id]
    assert (entry.status, entry.recipient) == (NotificationStatus.SENT, "j***@example.com")
    assert (entry.position, entry.created_at) == (7, sent.recorded_at)


def test_mail_is_retried_for_a_day():
    retry = FOR_A_DAY
    assert retry.within_seconds == 24 * 3600
    assert 0.5 <= retry.pause_seconds(0) <= 1
    assert retry.pause_seconds(30) <= 900


def state_after(*events: RecordedEvent) -> NotifierState:
    state = NotifierState()
    for event in events:
        state = evolve(state, event)
    return state


def test_order_without_email_uses_customer_address():
    order = with_recipient(given_events(JANE, OF_JANE), "o1")
    assert (order.email, order.locale) == ("jane@example.org", "ja")


def test_order_email_and_locale_take_precedence():
    order = msgspec.structs.replace(OF_JANE, email="aunt@example.com", locale="en")
    order = with_recipient(given_events(JANE, order), "o1")
    assert (order.email, order.locale) == ("aunt@example.com", "en")


def test_guest_order_uses_its_own_email_only():
    guest = msgspec.structs.replace(OF_JANE, guest=True)
    assert with_recipient(given_events(JANE, guest), "o1").email is None


def test_order_with_email_needs_no_customer():
    order = msgspec.structs.replace(OF_JANE, email="aunt@example.com")
    assert with_recipient(given_events(order), "o1").email == "aunt@example.com"


def test_order_without_email_waits_for_its_customer():
    with pytest.raises(CustomerNotReceived):
        with_recipient(given_events(OF_JANE), "o1")
    assert decide(given_events(OF_JANE), SettleMailAtOnce(mail=DELIVERED)) == []


def test_unknown_order_has_no_recipient_yet():
    with pytest.raises(OrderNotReceived):
        with_recipient(given_events(JANE), "o1")


@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=4))
def test_newest_customer_update_counts_in_any_order(order, repeated):
    updates = [recorded(JANE)] + [
        recorded(CustomerUpdated(user_id="jane", email=f"{number}@example.org"))
        for number in range(3)
    ]
    state = state_after(*(updates[index] for index in (*order, *repeated)))
    assert state.customers["jane"].email == "2@example.org"


AGAIN = Resend(notification_id="n2", resend_of=DELIVERED.notification_id)
ASKED_AGAIN = NotificationResendRequested(
    notification_id="n2",
    order_id="o1",
    event_id=CONSUMED.event_id,
    resend_of=DELIVERED.notification_id,
    template="delivered",
)
SENT_BEFORE = state_after(recorded(CREATED), CONSUMED, recorded(SENT, source="notifier"))


def test_resent_mail_repeats_the_first_mail():
    assert decide(SENT_BEFORE, AGAIN) == [ASKED_AGAIN]
    asked = recorded(ASKED_AGAIN, position=9, source="notifier")
    state = evolve(SENT_BEFORE, asked)
    [schedule] = schedule_mails(state, asked)
    repeated = msgspec.convert(schedule.payload, type(DELIVERED))
    assert repeated == msgspec.structs.replace(
        DELIVERED, notification_id="n2", resend_of=DELIVERED.notification_id
    )
    assert state.notifications["n2"].status is NotificationStatus.PENDING
    [sent] = decide(state, RecordSent(mail=repeated, recipient="jane@example.com"))
    assert isinstance(sent, NotificationSent)
    assert sent.resend_of == DELIVERED.notification_id
    entry = evolve(state, recorded(sent, source="notifier")).notifications["n2"]
    assert (entry.status, entry.position, entry.created_at) == (
        NotificationStatus.SENT,
        9,
        asked.recorded_at,
    )


def test_resent_mail_without_smtp_is_recorded_immediately():
    asked, sent = decide(SENT_BEFORE, AGAIN, sends=False)
    assert asked == ASKED_AGAIN
    assert isinstance(sent, NotificationSent)
    assert sent.notification_id == "n2"


def test_resend_of_unknown_notification_is_rejected():
    with pytest.raises(Rejected) as refused:
        decide(state_after(recorded(CREATED), CONSUMED), AGAIN)
    assert refused.value.code == "unknown-notification"


def test_resend_of_pending_notification_is_rejected():
    state = evolve(SENT_BEFORE, recorded(ASKED_AGAIN, source="notifier"))
    with pytest.raises(Rejected) as refused:
        decide(state, Resend(notification_id="n3", resend_of="n2"))
    assert refused.value.code == "notification-pending"


def commands(events: list[RecordedEvent]) -> st.SearchStrategy[Command]:
    mails = [mail_for(event) for event in events]
    mails += [
        msgspec.structs.replace(
            mail, notification_id=f"again-{number}", resend_of=mail.notification_id
        )
        for number, mail in enumerate(mails)
    ]
    mail = st.sampled_from(mails)
    repeats = [
        Resend(notification_id=mail.notification_id, resend_of=mail.resend_of)
        for mail in mails
        if mail.resend_of
    ]
    return st.one_of(
        st.sampled_from(repeats),
        st.builds(SettleMailAtOnce, mail=mail),
        st.builds(RecordSent, mail=mail, recipient=st.just("jane@example.com")),
        st.builds(RecordFailed, mail=mail, error=st.text()),
        st.builds(RecordSkipped, mail=mail),
    )


@given(st.data(), st.booleans())
def test_mail_has_one_outcome_after_any_commands(data, sends):
    events = [recorded(event) for event in (CREATED, DISPATCHED, COMPLETED, CANCELLED, FAILED)]
    state = NotifierState()
    outcomes: list[str] = []
    asked: set[str] = set()
    steps = st.one_of(st.sampled_from(events), commands(events))
    for step in data.draw(st.lists(steps, max_size=40)):
        if isinstance(step, RecordedEvent):
            state = evolve(state, step)
            continue
        if not _may_come(state, asked, step):
            continue
        before = state.notifications
        for event in _decided(state, step, sends=sends):
            if isinstance(event, NotificationResendRequested):
                asked.add(event.notification_id)
            else:
                outcomes.append(event.notification_id)
            state = evolve(state, recorded(event, source="notifier"))
        settled = {
            key: mail
            for key, mail in before.items()
            if mail.status is not NotificationStatus.PENDING
        }
        assert settled.items() <= state.notifications.items()
    assert len(outcomes) == len(set(outcomes))
    assert asked.union(outcomes) == set(state.notifications)


def _may_come(state: NotifierState, asked: set[str], command: Command) -> bool:
    """Ids of mails asked for again are new, and such a mail is sent only when it was asked for."""
    if isinstance(command, Resend):
        return command.notification_id not in asked and command.resend_of in state.mails
    return command.mail.resend_of is None or command.mail.notification_id in asked


def _decided(state: NotifierState, command: Command, *, sends: bool) -> list[Event]:
    try:
        return decide(state, command, sends=sends)
    except Rejected:
        return []
