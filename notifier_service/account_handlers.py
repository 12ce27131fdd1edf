"""Which events about accounts lead to a mail, and the task that sends it."""

from collections.abc import Iterable

import msgspec

from notifier_service.account_mails import (
    ACCOUNT_EVENTS,
    AccountMail,
    AccountOutcome,
    ConsiderAccountMail,
    RecordAccountMailExpired,
    RecordAccountMailFailed,
    RecordAccountMailSent,
    account_mail_for,
)
from notifier_service.composer import Unsendable
from notifier_service.smtp import Mailer
from shared.chassis.engine.task_runner import Retry, TaskHandler
from shared.chassis.messages import clock
from shared.chassis.messages.decider import on_recorded
from shared.chassis.messages.foreign_text import cleaned
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.schedule import Cancel, Change, Schedule
from shared.chassis.storage.task_queue import Task
from shared.contracts import AccountMailFailed, AccountMailSent, AccountMailSkipped

ACCOUNT_MAIL = "account-mail"


def consider_account_mail(recorded: RecordedEvent) -> ConsiderAccountMail:
    """`recorded` is one of the `ACCOUNT_EVENTS`."""
    age = clock.now() - recorded.recorded_at
    return ConsiderAccountMail(mail=account_mail_for(recorded), age=age)


def schedule_account_mails(recorded: RecordedEvent) -> Iterable[Change]:
    """One of the `ACCOUNT_EVENTS` makes its mail due at once; the mail's outcome cancels the task."""
    match recorded.event:
        case AccountMailSent() | AccountMailFailed() | AccountMailSkipped() as settled:
            return (Cancel(kind=ACCOUNT_MAIL, key=settled.event_id),)
        case event if isinstance(event, ACCOUNT_EVENTS):
            mail = account_mail_for(recorded)
            payload = msgspec.to_builtins(mail)
            return (Schedule(kind=ACCOUNT_MAIL, key=mail.event_id, payload=payload),)
        case _:
            return ()


def account_mail_task(mailer: Mailer, retry: Retry) -> TaskHandler:
    """Sends the mail, unless its link has expired; retries failures that may be temporary."""

    async def send(due: Task) -> AccountOutcome:
        mail = _mail_of(due)
        if mail.expires_at and clock.now() >= mail.expires_at:
            return RecordAccountMailExpired(mail=mail)
        try:
            await mailer.deliver_account_mail(mail)
        except Unsendable as error:
            return RecordAccountMailFailed(mail=mail, error=cleaned(str(error)))
        return RecordAccountMailSent(mail=mail)

    def give_up(due: Task, error: str) -> RecordAccountMailFailed:
        return RecordAccountMailFailed(mail=_mail_of(due), error=error)

    return TaskHandler(ACCOUNT_MAIL, send, give_up, retry)


def _mail_of(due: Task) -> AccountMail:
    return msgspec.convert(due.payload, AccountMail)


ACCOUNT_SUBSCRIPTIONS = tuple(
    on_recorded(event_type, consider_account_mail) for event_type in ACCOUNT_EVENTS
)
