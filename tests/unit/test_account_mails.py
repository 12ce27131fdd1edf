"""Mails about accounts: what they contain, and what becomes of them."""

import re
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from itertools import product

import jwt
import msgspec
import pytest
from msgspec.structs import replace

from notifier_service.account_handlers import account_mail_task, schedule_account_mails
from notifier_service.account_mails import (
    AccountMail,
    AccountTemplate,
    ConsiderAccountMail,
    RecordAccountMailExpired,
    RecordAccountMailFailed,
    RecordAccountMailSent,
    account_mail_for,
)
from notifier_service.composer import LOCALES, Composer, Unsendable
from notifier_service.domain import NotifierState, decide
from notifier_service.mail_links import LinksNotReady, MailLinks
from notifier_service.smtp import read_sender
from shared.chassis.engine.task_runner import Retry
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.messages.clock import now
from shared.chassis.messages.event import Event
from shared.chassis.messages.schedule import Cancel, Schedule
from shared.chassis.storage.task_queue import Task
from shared.chassis.testing import START
from shared.contracts import (
    AccountMailFailed,
    AccountMailSent,
    AccountMailSkipped,
    CustomerEmailChanged,
    CustomerPasswordChanged,
    EmailVerificationRequested,
    PasswordResetRequested,
)
from shared.settings import ShopSettings
from tests.support.history import recorded

SIGNER = TokenSigner.generate()
LINKS = MailLinks(ShopSettings(public_url="https://shop.example/x/"))
LINKS.use(SIGNER)
SENDER = read_sender("Quadrille <shop@quadrille.example>")
COMPOSER = Composer(SENDER, "en", LINKS)
LATER = START + timedelta(hours=1)
REQUEST = {
    "user_id": "jane",
    "request_id": "r1",
    "email": "jane@example.com",
    "expires_at": LATER,
}
EVENTS: dict[AccountTemplate, Event] = {
    AccountTemplate.PASSWORD_RESET: PasswordResetRequested(**REQUEST),
    AccountTemplate.EMAIL_VERIFICATION: EmailVerificationRequested(**REQUEST),
    AccountTemplate.EMAIL_CHANGED: CustomerEmailChanged(
        user_id="jane", previous_email="jane@example.com", email="jane@example.org"
    ),
    AccountTemplate.PASSWORD_CHANGED: CustomerPasswordChanged(
        user_id="jane", email="jane@example.com"
    ),
}
PAGES = {
    AccountTemplate.PASSWORD_RESET: "https://shop.example/x/account/reset-password",
    AccountTemplate.EMAIL_VERIFICATION: "https://shop.example/x/account/verify-email",
}


def mail_of(template: AccountTemplate, locale: str = "en") -> AccountMail:
    return replace(account_mail_for(recorded(EVENTS[template])), locale=locale)


MAIL = mail_of(AccountTemplate.PASSWORD_RESET)


def parts_of(message: EmailMessage) -> tuple[EmailMessage, list[str]]:
    """The message as its recipient parses it, and its text and HTML."""
    received = message_from_bytes(message.as_bytes(), policy=default)
    parts = [received.get_body((kind,)) for kind in ("plain", "html")]
    return received, [part.get_content() for part in parts if part]


@pytest.mark.parametrize(("locale", "template"), list(product(LOCALES, AccountTemplate)))
def test_account_mail_has_its_link_in_every_locale(locale: str, template: AccountTemplate):
    received, parts = parts_of(COMPOSER.compose_account_mail(mail_of(template, locale)))
    assert len(parts) == 2
    assert received["To"] == "jane@example.com"
    assert received["Content-Language"] == locale
    assert received["Subject"].isascii() == (locale == "en")
    for part in parts:
        links = re.findall(r"https://[^\s\"]+\?link=[\w.-]+", part)
        if page := PAGES.get(template):
            (link,) = set(links)
            assert link.partition("?")[0] == page
            claims = jwt.decode(link.partition("=")[2], options={"verify_signature": False})
            assert claims["sub"] == "jane.r1"
            assert claims["aud"] == f"quadrille:link:{template}"
            assert claims["exp"] == LATER.timestamp()
            assert "10:00" in part
        else:
            assert links == []
        assert ("jane@example.org" in part) == (template is AccountTemplate.EMAIL_CHANGED)
        assert "None" not in part


def test_notice_of_changed_address_goes_to_the_old():
    assert mail_of(AccountTemplate.EMAIL_CHANGED).recipient == "jane@example.com"


def test_repeated_mail_contains_the_same_link():
    first, second = (parts_of(COMPOSER.compose_account_mail(MAIL))[1][0] for _ in range(2))
    assert first == second


def test_mail_waits_for_the_key_of_links():
    starting = Composer(SENDER, "en", MailLinks(ShopSettings()))
    with pytest.raises(LinksNotReady):
        starting.compose_account_mail(MAIL)
    starting.compose_account_mail(mail_of(AccountTemplate.PASSWORD_CHANGED))


def test_account_mail_to_impossible_address_is_unsendable():
    with pytest.raises(Unsendable):
        COMPOSER.compose_account_mail(replace(MAIL, recipient="a@b, c@d"))


def outcome(command: object, **settings: object) -> Event | None:
    events = decide(NotifierState(), command, **settings)  # type: ignore[arg-type]
    return events[0] if events else None


FIELDS = {
    "user_id": "jane",
    "event_id": MAIL.event_id,
    "template": "password-reset",
    "recipient": "j***@example.com",
}


def test_outcomes_of_account_mails_are_recorded():
    old = ConsiderAccountMail(mail=MAIL, age=timedelta(days=2))
    assert outcome(old, max_age=timedelta(days=1)) == AccountMailSkipped(**FIELDS, reason="TOO_OLD")
    assert outcome(old) is None
    assert outcome(old, sends=False) == AccountMailSent(**FIELDS)
    assert outcome(RecordAccountMailSent(mail=MAIL)) == AccountMailSent(**FIELDS)
    failed = RecordAccountMailFailed(mail=MAIL, error="no")
    assert outcome(failed) == AccountMailFailed(**FIELDS, error="no")
    expired = outcome(RecordAccountMailExpired(mail=MAIL))
    assert expired == AccountMailSkipped(**FIELDS, reason="EXPIRED")


def test_account_mail_is_due_until_its_outcome():
    for event in EVENTS.values():
        (due,) = schedule_account_mails(recorded(event))
        assert isinstance(due, Schedule)
    (cancelled,) = schedule_account_mails(recorded(AccountMailSent(**FIELDS)))
    assert cancelled == Cancel(kind="account-mail", key=MAIL.event_id)


class Recorder:
    """A mailer that notes what it is given."""

    def __init__(self) -> None:
        self.mails: list[AccountMail] = []

    async def deliver(self, mail: object, order: object) -> None:
        raise AssertionError(mail)

    async def deliver_account_mail(self, mail: AccountMail) -> None:
        self.mails.append(mail)

    async def close(self) -> None:
        pass


def task_of(mail: AccountMail) -> Task:
    return Task(
        task_id="t1",
        kind="account-mail",
        task_key=mail.event_id,
        payload=msgspec.to_builtins(mail),
        due_at=START,
        attempts=0,
        first_due_at=START,
        causation_id=None,
        correlation_id="jane",
        traceparent=None,
    )


async def test_mail_with_expired_link_is_not_sent():
    mailer = Recorder()
    handler = account_mail_task(mailer, Retry())
    valid = replace(MAIL, expires_at=now() + timedelta(minutes=1))
    expired = replace(MAIL, expires_at=now() - timedelta(seconds=1))
    assert await handler.run(task_of(valid)) == RecordAccountMailSent(mail=valid)
    assert await handler.run(task_of(expired)) == RecordAccountMailExpired(mail=expired)
    assert mailer.mails == [valid]
