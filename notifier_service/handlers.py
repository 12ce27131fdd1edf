"""Which events lead to a mail, and the task that sends it."""

from collections.abc import Iterable

import msgspec

from notifier_service.account_handlers import ACCOUNT_SUBSCRIPTIONS, schedule_account_mails
from notifier_service.composer import Unsendable
from notifier_service.domain import (
    Command,
    CustomerNotReceived,
    MailOutcome,
    NotifierState,
    RecordFailed,
    RecordSent,
    RecordSkipped,
    SettleMailAtOnce,
)
from notifier_service.mails import MAILED_EVENTS, Mail, mail_for
from notifier_service.order_reader import OrderReader
from notifier_service.smtp import Mailer
from shared.chassis.engine.task_runner import Retry, TaskHandler
from shared.chassis.messages import clock
from shared.chassis.messages.decider import Subscription, on, on_recorded
from shared.chassis.messages.foreign_text import cleaned
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.schedule import Cancel, Change, Schedule
from shared.chassis.storage.task_queue import Task
from shared.contracts import (
    CustomerRegistered,
    CustomerUpdated,
    NotificationFailed,
    NotificationResendRequested,
    NotificationSent,
    NotificationSkipped,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    OrderNudged,
    ShipmentDispatched,
)

MAIL = "mail"
FOR_A_DAY = Retry(within_seconds=24 * 3600, first_seconds=1, longest_seconds=900)
CUSTOMER_TIMEOUT_SECONDS = 60
"""How long to wait for an order's customer. They registered before they ordered, but resent events arrive in any order;
and an admin may order for a customer who never registered."""


def settle_mail_at_once(recorded: RecordedEvent) -> SettleMailAtOnce:
    """`recorded` is one of the `MAILED_EVENTS`."""
    created = recorded.event
    user_id = created.user_id if isinstance(created, OrderCreated) and not created.guest else None
    age = clock.now() - recorded.recorded_at
    return SettleMailAtOnce(mail=mail_for(recorded), user_id=user_id, age=age)


def schedule_mails(state: NotifierState, recorded: RecordedEvent) -> Iterable[Change]:
    """One of the `MAILED_EVENTS` makes its mail due at once; the mail's outcome cancels the task."""
    match recorded.event:
        case NotificationSent() | NotificationFailed() | NotificationSkipped() as settled:
            return (Cancel(kind=MAIL, key=settled.notification_id),)
        case event if isinstance(event, MAILED_EVENTS):
            mail = mail_for(recorded)
            return () if mail.notification_id in state.notifications else (_due(mail),)
        case NotificationResendRequested(notification_id=notification_id):
            return (_due(state.mails[notification_id]),)
        case _:
            return schedule_account_mails(recorded)


def _due(mail: Mail) -> Schedule:
    return Schedule(kind=MAIL, key=mail.notification_id, payload=msgspec.to_builtins(mail))


def mail_task(
    orders: OrderReader,
    mailer: Mailer,
    retry: Retry = FOR_A_DAY,
) -> TaskHandler:
    """Sends the mail if it has a recipient; retries failures that may be temporary."""

    async def send(due: Task) -> MailOutcome:
        mail = msgspec.convert(due.payload, Mail)
        try:
            order = await orders.order(mail.order_id)
        except CustomerNotReceived:
            if due.seconds_due(clock.now()) < CUSTOMER_TIMEOUT_SECONDS:
                raise
            return RecordSkipped(mail=mail)
        if not order.email:
            return RecordSkipped(mail=mail)
        try:
            await mailer.deliver(mail, order)
        except Unsendable as error:
            return RecordFailed(mail=mail, error=cleaned(str(error)))
        return RecordSent(mail=mail, recipient=order.email)

    def give_up(due: Task, error: str) -> RecordFailed:
        return RecordFailed(mail=msgspec.convert(due.payload, Mail), error=error)

    return TaskHandler(MAIL, send, give_up, retry)


SUBSCRIPTIONS: tuple[Subscription[Command], ...] = (
    on_recorded(OrderCreated, settle_mail_at_once),
    on_recorded(ShipmentDispatched, settle_mail_at_once),
    on_recorded(OrderCompleted, settle_mail_at_once),
    on_recorded(OrderCancelled, settle_mail_at_once),
    on_recorded(OrderFailed, settle_mail_at_once),
    on(CustomerRegistered),
    on(CustomerUpdated),
    on(OrderNudged),
    *ACCOUNT_SUBSCRIPTIONS,
)
