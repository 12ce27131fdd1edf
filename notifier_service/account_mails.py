"""Mails about accounts: links that customers asked for, and notices of what was changed. Pure rules.

Such a mail contains its recipient, so it waits for nothing. The link itself is made when the mail is composed: it is in
no event and in no table.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from shared.chassis.messages.event import MAX_ERROR_LENGTH, Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
    AccountMailFailed,
    AccountMailSent,
    AccountMailSkipped,
    CustomerEmailChanged,
    CustomerPasswordChanged,
    EmailVerificationRequested,
    PasswordResetRequested,
)
from shared.contracts.notifier import AccountSkipReason

ACCOUNT_EVENTS = (
    PasswordResetRequested,
    EmailVerificationRequested,
    CustomerEmailChanged,
    CustomerPasswordChanged,
)


class AccountTemplate(StrEnum):
    PASSWORD_RESET = "password-reset"  # noqa: S105 - a name
    EMAIL_VERIFICATION = "email-verification"
    EMAIL_CHANGED = "email-changed"
    PASSWORD_CHANGED = "password-changed"  # noqa: S105 - a name


class AccountMail(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A mail to one address, because of one event."""

    event_id: str
    user_id: str
    template: AccountTemplate
    recipient: str
    locale: str | None = None
    request_id: str | None = None
    """Of the link in it."""
    expires_at: datetime | None = None
    """Of the link in it."""
    new_email: str | None = None


class ConsiderAccountMail(Struct, frozen=True, kw_only=True):
    """Record the outcome of a mail that does not need to be sent."""

    mail: AccountMail
    age: timedelta
    """Of its event."""


class RecordAccountMailSent(Struct, frozen=True, kw_only=True):
    mail: AccountMail


class RecordAccountMailFailed(Struct, frozen=True, kw_only=True):
    mail: AccountMail
    error: str


class RecordAccountMailExpired(Struct, frozen=True, kw_only=True):
    """Record that the mail server was unreachable for longer than the link is valid."""

    mail: AccountMail


AccountOutcome = RecordAccountMailSent | RecordAccountMailFailed | RecordAccountMailExpired
AccountCommand = ConsiderAccountMail | AccountOutcome


def account_mail_for(recorded: RecordedEvent) -> AccountMail:
    """The mail of an event, which is one of the `ACCOUNT_EVENTS`."""
    match recorded.event:
        case PasswordResetRequested() as event:
            template, recipient = AccountTemplate.PASSWORD_RESET, event.email
        case EmailVerificationRequested() as event:
            template, recipient = AccountTemplate.EMAIL_VERIFICATION, event.email
        case CustomerEmailChanged() as event:
            template, recipient = AccountTemplate.EMAIL_CHANGED, event.previous_email
        case CustomerPasswordChanged() as event:
            template, recipient = AccountTemplate.PASSWORD_CHANGED, event.email
        case _:
            message = f"{recorded.event_type} leads to no mail about an account"
            raise LookupError(message)
    return AccountMail(
        event_id=recorded.event_id,
        user_id=event.user_id,
        template=template,
        recipient=recipient,
        locale=event.locale,
        request_id=getattr(event, "request_id", None),
        expires_at=getattr(event, "expires_at", None),
        new_email=event.email if template is AccountTemplate.EMAIL_CHANGED else None,
    )


def decide(command: AccountCommand, *, sends: bool, max_age: timedelta | None) -> list[Event]:
    """The outcome, if there is one. Without `sends`, a mail counts as sent; an event older than `max_age` leads to none."""
    mail = command.mail
    match command:
        case ConsiderAccountMail(age=age) if max_age is not None and age > max_age:
            return [_skipped(mail, "TOO_OLD")]
        case ConsiderAccountMail():
            return [] if sends else [_sent(mail)]
        case RecordAccountMailSent():
            return [_sent(mail)]
        case RecordAccountMailExpired():
            return [_skipped(mail, "EXPIRED")]
        case RecordAccountMailFailed(error=error):
            return [
                AccountMailFailed(
                    user_id=mail.user_id,
                    event_id=mail.event_id,
                    template=mail.template,
                    recipient=masked(mail.recipient),
                    error=error[:MAX_ERROR_LENGTH],
                )
            ]


def masked(email: str) -> str:
    """The address as a log may contain it: `j***@example.com`."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}***@{domain}"


def _sent(mail: AccountMail) -> AccountMailSent:
    return AccountMailSent(
        user_id=mail.user_id,
        event_id=mail.event_id,
        template=mail.template,
        recipient=masked(mail.recipient),
    )


def _skipped(mail: AccountMail, reason: AccountSkipReason) -> AccountMailSkipped:
    return AccountMailSkipped(
        user_id=mail.user_id,
        event_id=mail.event_id,
        template=mail.template,
        recipient=masked(mail.recipient),
        reason=reason,
    )
