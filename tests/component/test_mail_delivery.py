"""Mails to a real SMTP server: each is sent once, and temporary failures are retried."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from aiosmtplib import SMTPAuthenticationError, SMTPException
from httpx import ASGITransport, AsyncClient
from msgspec.structs import replace

from notifier_service import handlers, store
from notifier_service.app import build, logic
from notifier_service.composer import Composer, Unsendable
from notifier_service.domain import KnownOrder, NotifierState, evolve
from notifier_service.handlers import mail_task
from notifier_service.mails import Mail, Template
from notifier_service.order_reader import OrderReader
from notifier_service.smtp import TIMEOUT_SECONDS, SmtpMailer, SmtpServer, read_sender, read_url
from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.messages import clock
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime.service import Service
from shared.chassis.storage import event_log, task_queue
from shared.chassis.storage.database import database_url, open_for_reading, read_rows
from shared.contracts import (
    CATALOG,
    CustomerRegistered,
    CustomerUpdated,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderItem,
    ShipmentDispatched,
)
from shared.settings import ShopSettings
from tests.support.access import Issuer
from tests.support.chassis import ServiceSpec, log_of, pragma, publishing, serving, started
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.ports import free_port

ORDER = KnownOrder(
    order_id="o1",
    user_id="user123",
    guest=True,
    email="jane@example.com",
    locale="en",
    items=(OrderItem(product_id="prod001", name="Super Keyboard", quantity=2, price=5000),),
    total_amount=10_000,
    currency="JPY",
    shipping_address=None,
)
MAIL = Mail(notification_id="n1", event_id="e1", order_id="o1", template=Template.CONFIRMATION)
CONFIRMED = {"confirmation": "SENT"}
NOBODY = {"Authorization": ""}
COMPOSER = Composer(read_sender("Quadrille <shop@quadrille.example>"), "en")


class Latin1Smtp(SMTP):
    """Answers in Latin-1, as servers without SMTPUTF8 do."""

    async def push(self, status: str | bytes) -> None:
        line = status if isinstance(status, bytes) else status.encode("latin-1")
        self.transport.write(line + b"\r\n")


class MailServer:
    """A real SMTP server whose answers to recipients and mails are set by the test."""

    def __init__(self, **options) -> None:
        self.options = options
        self.port = 0
        self.sessions = 0
        self.mails: list[EmailMessage] = []
        self.passwords: list[bytes] = []
        self.were_encrypted: list[bool] = []
        self.answers: list[str] = []
        """To the next recipients, in turn."""
        self.verdicts: list[str] = []
        """On the next mails, in turn."""
        self.unknown: dict[str, str] = {}
        """Answers to recipients of these addresses."""
        self.on_mail: Callable[[], Awaitable[None]] | None = None
        """Runs once, when the next mail has come and is not yet answered."""
        self.may_answer = asyncio.Event()
        """Until it is set, accepted mails and QUITs wait for their answers."""
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["MailServer"]:
        server = await asyncio.get_running_loop().create_server(self._session, "127.0.0.1")
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    def mailer(self, user: str = "") -> SmtpMailer:
        server = read_url(f"smtp://{user}127.0.0.1:{self.port}")
        assert server
        return SmtpMailer(server, COMPOSER)

    def mailed(self, order_id: str) -> list[EmailMessage]:
        return [mail for mail in self.mails if order_id in (mail.get_body() or mail).get_content()]

    def _session(self) -> SMTP:
        self.sessions += 1
        return Latin1Smtp(self, hostname="localhost", authenticator=self._check, **self.options)

    def _check(self, _server, _session, _envelope, _mechanism, login: LoginPassword) -> AuthResult:
        self.passwords.append(login.password)
        return AuthResult(success=login.password == b"p@ss", handled=False)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options
    ) -> str:
        answer = self.answers.pop(0) if self.answers else self.unknown.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_QUIT(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        await self.may_answer.wait()
        return "221 Bye"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        verdict = self.verdicts.pop(0) if self.verdicts else "250 OK"
        if verdict.startswith("250"):
            assert envelope.original_content
            self.mails.append(message_from_bytes(envelope.original_content, policy=default))
            self.were_encrypted.append(session.ssl is not None)
        if on_mail := self.on_mail:
            self.on_mail = None
            await on_mail()
        await self.may_answer.wait()
        return verdict


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with MailServer().running() as running:
        yield running


@contextlib.asynccontextmanager
async def delivering(server: MailServer, user: str = "") -> AsyncIterator[SmtpMailer]:
    mailer = server.mailer(user)
    try:
        yield mailer
    finally:
        await mailer.close()


ISSUER = Issuer()
"""One for all starts on a database, which pins its key."""


class Notifier:
    """The whole running service, with a publisher and an HTTP client."""

    def __init__(self, settings: ShopSettings, http: AsyncClient, publish) -> None:
        self._settings = settings
        self._http = http
        self._publish = publish
        self._received: dict[str, RecordedEvent] = {}
        self.issuer = ISSUER

    async def receive(self, *events: Event | RecordedEvent) -> list[RecordedEvent]:
        published = [
            event if isinstance(event, RecordedEvent) else recorded(event) for event in events
        ]
        await self._publish(published)
        self._received |= {event.event_id: event for event in published}
        return published

    async def sign_in(self) -> None:
        """Send later requests as the admin."""
        await self.receive(self.issuer.published)
        self._http.headers.update(self.issuer.headers("root", "admin"))
        await eventually(self._is_known)

    async def log(self, order_id: str) -> list[dict]:
        answer = await self._http.get("/notifications", params={"orderId": order_id})
        return answer.json()["items"]

    async def get(self, path: str, **request):
        return await self._http.get(path, **request)

    async def post(self, path: str, body: dict):
        return await self._http.post(path, json=body)

    async def resend(self, entry: dict, **headers: str):
        path = f"/notifications/{entry['notificationId']}/resend"
        return await self._http.post(path, headers=headers)

    async def outcomes(self, order_id: str) -> dict[str, str]:
        return {entry["template"]: entry["status"] for entry in await self.log(order_id)}

    async def tasks(self) -> list[dict]:
        reads = open_for_reading(database_url("notifier", self._settings))
        rows = await reads.run(lambda connection: read_rows(connection, task_queue.TASK))
        await reads.close()
        return rows

    async def assert_log_and_tables_agree(self) -> None:
        reads = open_for_reading(database_url("notifier", self._settings))
        own_events = await reads.run(
            lambda connection: list(event_log.read_all(connection, "notifier", CATALOG))
        )
        tables = await reads.run(store.STORE.read_all)
        await reads.close()
        state = NotifierState()
        for event in (*self._received.values(), *own_events):
            state = evolve(state, event)
        assert state == tables

    async def _is_known(self) -> bool:
        return (await self.get("/notifications")).status_code == 200


@contextlib.asynccontextmanager
async def notifying(settings: ShopSettings) -> AsyncIterator[Notifier]:
    async with (
        started(build(settings)) as app,
        AsyncClient(transport=ASGITransport(app), base_url="http://notifier") as http,
        publishing(settings) as broker,
    ):
        notifier = Notifier(settings, http, broker.publish)
        await notifier.sign_in()
        yield notifier


@pytest.fixture
async def notifier(shop_settings: ShopSettings, server: MailServer) -> AsyncIterator[Notifier]:
    async with notifying(replace(shop_settings, smtp_url=server.url)) as running:
        yield running


def created(order_id: str, **changes) -> OrderCreated:
    order = OrderCreated(
        order_id=order_id,
        user_id="user123",
        guest=True,
        email="jane@example.com",
        items=ORDER.items,
        total_amount=10_000,
        currency="JPY",
    )
    return replace(order, **changes)


def of_jane(order_id: str) -> OrderCreated:
    """An order of a registered customer, without an address of its own."""
    return created(order_id, user_id="jane", guest=False, email=None)


JANE = CustomerRegistered(user_id="jane", email="jane@example.com", locale="ja")


async def test_redelivered_event_is_mailed_once(notifier: Notifier, server: MailServer):
    first = recorded(created("o1"))
    shipped = recorded(
        ShipmentDispatched(shipment_id="s1", order_id="o1", carrier="http", reference="R1")
    )
    done = recorded(OrderCompleted(order_id="o1", tracking_number="T-1"))
    await notifier.receive(first, shipped, done)
    all_sent = {"confirmation": "SENT", "dispatched": "SENT", "delivered": "SENT"}
    await eventually(lambda: _equal(notifier.outcomes("o1"), all_sent))
    await notifier.receive(first, shipped, done)
    await notifier.receive(created("o2"))
    await eventually(lambda: _equal(notifier.outcomes("o2"), {"confirmation": "SENT"}))
    log = await notifier.log("o1")
    assert sorted(mail["Message-ID"] for mail in server.mailed("o1")) == sorted(
        f"<{entry['notificationId']}@quadrille.example>" for entry in log
    )
    assert {entry["eventId"] for entry in log} == {
        event.event_id for event in (first, shipped, done)
    }
    assert {entry["recipient"] for entry in log} == {"j***@example.com"}
    assert await notifier.tasks() == []
    await notifier.assert_log_and_tables_agree()


async def test_mails_are_sent_once_on_a_full_disk(shop_settings: ShopSettings, server: MailServer):
    notifier = ServiceSpec("notifier", logic(sends=True), store.METADATA, store.derived_tables)
    orders = OrderReader(open_for_reading(database_url("notifier", shop_settings)))
    async with delivering(server) as mailer:
        handlers = (mail_task(orders, mailer),)
        async with serving(shop_settings, notifier, handlers) as service:
            server.on_mail = lambda: service.writer.run_in_transaction(pragma("max_page_count=1"))
            await service.writer.handle([recorded(created(f"o{number}")) for number in range(100)])
            await eventually(lambda: service.effects._unrecorded)
            await asyncio.sleep(1.5)  # shows that no mail is repeated
            await eventually(lambda: _is_freed(service))
            log = await eventually(lambda: _log_of_length(service, 100))
    await orders.close()
    assert {event.event_type for event in log} == {"NotificationSent"}
    assert len(server.mails) == len({mail["Message-ID"] for mail in server.mails}) == 100


async def _is_freed(service: Service) -> bool:
    try:
        await service.writer.run_in_transaction(pragma("max_page_count=1000000"))
    except StorageUnavailable:  # it was committed together with what does not fit
        return False
    return True


async def _log_of_length(service: Service, length: int) -> list[RecordedEvent] | None:
    log = await log_of(service.reads, "notifier")
    return log if len(log) >= length else None


async def test_temporarily_refused_mail_is_sent_later(notifier: Notifier, server: MailServer):
    server.answers = ["451 try again later"]
    server.verdicts = ["452 insufficient storage"]
    await notifier.receive(created("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "SENT"}), 20)
    assert len(server.mails) == 1


@pytest.mark.parametrize("stage", ["answers", "verdicts"])
async def test_permanently_refused_mail_fails_without_retry(
    notifier: Notifier, server: MailServer, stage: str
):
    setattr(server, stage, ["550 nobody of that name"])
    await notifier.receive(created("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "FAILED"}))
    [entry] = await notifier.log("o1")
    assert "550 nobody of that name" in entry["error"]
    assert entry["recipient"] == "j***@example.com"
    await notifier.receive(created("o2"))
    await eventually(lambda: _equal(notifier.outcomes("o2"), {"confirmation": "SENT"}))
    await notifier.assert_log_and_tables_agree()


async def test_mail_given_up_fails_with_operators_reason(notifier: Notifier, server: MailServer):
    server.answers = ["451 try again later"] * 20
    await notifier.receive(created("o1"))

    async def retried() -> dict | None:
        answer = await notifier.get("/tasks", params={"state": "retrying", "orderId": "o1"})
        waiting = [task for task in answer.json()["items"] if not task["running"]]
        return waiting[0] if waiting else None

    async def given_up() -> bool:
        task = await eventually(retried)
        body = {"reason": "nobody reads it"}
        answer = await notifier.post(f"/tasks/mail/{task['key']}/give-up", body)
        return answer.status_code == 200

    await eventually(given_up)
    [entry] = await notifier.log("o1")
    assert (entry["status"], entry["error"], entry["recipient"]) == (
        "FAILED",
        "given up by an operator: nobody reads it",
        "j***@example.com",
    )
    assert await notifier.tasks() == []


async def test_latin1_refusals_are_recorded_and_block_nothing(
    notifier: Notifier, server: MailServer
):
    server.unknown["nobody@example.com"] = "550 5.1.1 Boîte inconnue"
    refused = [created(f"r{number}", email="nobody@example.com") for number in range(70)]
    await notifier.receive(*refused, *(created(f"o{number}") for number in range(20)))
    await eventually(lambda: len(server.mails) == 20)
    await eventually(lambda: _equal(notifier.outcomes("r69"), {"confirmation": "FAILED"}))
    [entry] = await notifier.log("r69")
    assert entry["error"] == "the mail server refused the recipient: 550 5.1.1 Bo?te inconnue"
    await eventually(lambda: _equal(notifier.tasks(), []))
    await notifier.assert_log_and_tables_agree()


async def test_mail_of_order_without_address_is_skipped(notifier: Notifier, server: MailServer):
    await notifier.receive(
        created("o1", email=None), OrderCancelled(order_id="o1", reason="EXPIRED")
    )
    skipped = {"confirmation": "SKIPPED", "cancelled": "SKIPPED"}
    await eventually(lambda: _equal(notifier.outcomes("o1"), skipped))
    assert server.sessions == 0
    assert await notifier.tasks() == []
    await notifier.assert_log_and_tables_agree()


async def test_replayed_old_events_send_no_mail(shop_settings: ShopSettings, server: MailServer):
    settings = replace(shop_settings, smtp_url=server.url, mail_max_age_hours=24)
    yesterday = clock.now() - timedelta(hours=25)
    async with notifying(settings) as notifier:
        await notifier.receive(replace(recorded(created("o1")), recorded_at=yesterday))
        await notifier.receive(replace(recorded(created("o2")), recorded_at=clock.now()))
        await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "SKIPPED"}))
        await eventually(lambda: _equal(notifier.outcomes("o2"), CONFIRMED))
        [skipped] = await notifier.log("o1")
        assert skipped["skipReason"] == "TOO_OLD"
        assert await notifier.tasks() == []
        await notifier.assert_log_and_tables_agree()
    assert len(server.mails) == len(server.mailed("o2")) == 1


async def test_mail_to_invalid_address_fails_without_retry(notifier: Notifier, server: MailServer):
    await notifier.receive(created("o1", email="jane,all@example.com"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "FAILED"}))
    assert server.sessions == 0


async def test_events_out_of_order_are_all_mailed(notifier: Notifier, server: MailServer):
    done = OrderCompleted(order_id="o1", tracking_number="T-1")
    await notifier.receive(done)
    await eventually(lambda: _has_failed_once(notifier))
    await notifier.receive(created("o1"))
    both = {"confirmation": "SENT", "delivered": "SENT"}
    await eventually(lambda: _equal(notifier.outcomes("o1"), both))
    assert len(server.mailed("o1")) == 2


async def test_mails_wait_for_unreachable_server(shop_settings: ShopSettings, server: MailServer):
    away = replace(shop_settings, smtp_url=f"smtp://127.0.0.1:{free_port()}")
    async with notifying(away) as notifier:
        await notifier.receive(created("o1"), created("o2", email=None))
        await eventually(lambda: _equal(notifier.outcomes("o2"), {"confirmation": "SKIPPED"}))
        await eventually(lambda: _has_failed_once(notifier))
        assert await notifier.outcomes("o1") == {}
    async with notifying(replace(away, smtp_url=server.url)) as notifier:
        await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "SENT"}), 20)
    assert len(server.mails) == 1


async def test_mails_are_recorded_without_smtp_server(
    shop_settings: ShopSettings, server: MailServer
):
    async with notifying(replace(shop_settings, smtp_url="null:")) as notifier:
        done = OrderCompleted(order_id="o1", tracking_number="T-1")
        await notifier.receive(done, created("o1"), created("o2", email=None))
        both = {"confirmation": "SENT", "delivered": "SENT"}
        await eventually(lambda: _equal(notifier.outcomes("o1"), both))
        await eventually(lambda: _equal(notifier.outcomes("o2"), {"confirmation": "SKIPPED"}))
        assert await notifier.tasks() == []
        await notifier.assert_log_and_tables_agree()


async def test_notification_log_is_paged_newest_first(
    shop_settings: ShopSettings, server: MailServer
):
    async with notifying(replace(shop_settings, smtp_url="null:")) as notifier:
        no_address = {"email": None}
        orders = [created(f"o{number}", **no_address if number == 3 else {}) for number in range(5)]
        await notifier.receive(*orders)
        whole = (await eventually(lambda: _all_of(notifier, 5)))["items"]
        first = (await notifier.get("/notifications?limit=3")).json()
        rest = (await notifier.get(f"/notifications?limit=3&cursor={first['nextCursor']}")).json()
        assert first["items"] + rest["items"] == whole
        assert [entry["orderId"] for entry in whole] == ["o4", "o3", "o2", "o1", "o0"]
        assert rest["nextCursor"] is None
        for status, entries in (("SENT", [*whole[:1], *whole[2:]]), ("SKIPPED", whole[1:2])):
            page = (await notifier.get(f"/notifications?status={status}")).json()
            assert page["items"] == entries
        last = (await notifier.get("/notifications?status=SENT&orderId=o0")).json()
        assert last["items"] == whole[4:]
        assert (await notifier.get("/notifications?status=LOST")).status_code == 400
        one = await notifier.get(f"/notifications/{whole[0]['notificationId']}")
        assert one.json() == whole[0]
        missing = await notifier.get("/notifications/nothing")
        assert missing.status_code == 404
        assert missing.json()["type"] == "urn:quadrille:problem:unknown-notification"
        assert (await notifier.get("/notifications?cursor=x")).status_code == 400


async def test_notifications_are_visible_to_admins_only(notifier: Notifier):
    await notifier.receive(created("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "SENT"}))
    [entry] = await notifier.log("o1")
    customer = notifier.issuer.headers("user123")
    stranger = Issuer().headers("root", "admin")
    paths = ("/notifications?orderId=o1", f"/notifications/{entry['notificationId']}")
    for headers, status in ((NOBODY, 401), (customer, 403), (stranger, 401)):
        for path in paths:
            assert (await notifier.get(path, headers=headers)).status_code == status
        assert (await notifier.resend(entry, **headers)).status_code == status
    assert len(await notifier.log("o1")) == 1


async def test_order_without_address_is_mailed_to_customer(notifier: Notifier, server: MailServer):
    await notifier.receive(JANE, of_jane("o1"), created("o2", user_id="jane", guest=False))
    for order_id in ("o1", "o2"):
        await eventually(lambda order=order_id: _equal(notifier.outcomes(order), CONFIRMED))
    assert {mail["To"] for mail in server.mails} == {"jane@example.com"}
    assert {mail["Content-Language"] for mail in server.mails} == {"ja"}
    await notifier.assert_log_and_tables_agree()


async def test_order_address_takes_precedence_over_customer(notifier: Notifier, server: MailServer):
    order = created("o1", user_id="jane", guest=False, email="aunt@example.com", locale="en")
    await notifier.receive(JANE, order)
    await eventually(lambda: _equal(notifier.outcomes("o1"), CONFIRMED))
    [mail] = server.mails
    assert (mail["To"], mail["Content-Language"]) == ("aunt@example.com", "en")


async def test_guest_with_customer_id_gets_no_customer_mail(notifier: Notifier, server: MailServer):
    await notifier.receive(JANE, created("o1", user_id="jane", email=None))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "SKIPPED"}))
    assert server.mails == []


async def test_newest_customer_address_counts_in_any_order(notifier: Notifier, server: MailServer):
    registered = recorded(JANE)
    moved = recorded(CustomerUpdated(user_id="jane", email="new@example.com"))
    await notifier.receive(moved, registered, of_jane("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), CONFIRMED))
    [mail] = server.mails
    assert (mail["To"], mail["Content-Language"]) == ("new@example.com", "en")
    await notifier.assert_log_and_tables_agree()


@pytest.mark.parametrize("url", [None, "null:"])
async def test_late_customer_event_releases_the_mail(
    shop_settings: ShopSettings, server: MailServer, url: str | None
):
    async with notifying(replace(shop_settings, smtp_url=url or server.url)) as notifier:
        await notifier.receive(of_jane("o1"))
        await eventually(lambda: _has_failed_once(notifier))
        assert await notifier.log("o1") == []
        await notifier.receive(JANE)
        await eventually(lambda: _equal(notifier.outcomes("o1"), CONFIRMED))
        await notifier.assert_log_and_tables_agree()
    assert len(server.mails) == (0 if url else 1)


async def test_missing_customer_is_waited_for_with_timeout(
    notifier: Notifier, server: MailServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(handlers, "CUSTOMER_TIMEOUT_SECONDS", 0.1)
    await notifier.receive(of_jane("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "SKIPPED"}))
    assert await notifier.tasks() == []
    assert server.mails == []


async def test_resent_mail_has_its_own_notification(notifier: Notifier, server: MailServer):
    done = OrderCompleted(order_id="o1", tracking_number="T-1")
    await notifier.receive(created("o1"), done)
    both = {"confirmation": "SENT", "delivered": "SENT"}
    await eventually(lambda: _equal(notifier.outcomes("o1"), both))
    [original] = [entry for entry in await notifier.log("o1") if entry["template"] == "delivered"]
    answer = await notifier.resend(original)
    asked = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/notifications/{asked['notificationId']}"
    assert answer.headers["Consistency-Token"].startswith("notifier:")
    assert (asked["status"], asked["recipient"]) == ("PENDING", None)
    again = await eventually(lambda: _settled(notifier, asked))
    assert again == asked | {"status": "SENT", "recipient": "j***@example.com"}
    assert again["resendOf"] == original["notificationId"]
    assert (original["resendOf"], again["eventId"]) == (None, original["eventId"])
    twice = [mail for mail in server.mails if "T-1" in mail.get_body().get_content()]
    assert [mail["Message-ID"] for mail in twice] == [
        f"<{entry['notificationId']}@quadrille.example>" for entry in (original, again)
    ]
    newest, *_ = await notifier.log("o1")
    assert newest == again
    assert await notifier.tasks() == []
    await notifier.assert_log_and_tables_agree()


async def test_resend_with_same_key_happens_once(notifier: Notifier, server: MailServer):
    await notifier.receive(created("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), CONFIRMED))
    [original] = await notifier.log("o1")
    first = await notifier.resend(original, **{"Idempotency-Key": "k1"})
    await eventually(lambda: _settled(notifier, first.json()))
    second = await notifier.resend(original, **{"Idempotency-Key": "k1"})
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (second.status_code, second.json()) == (202, first.json())
    assert len(server.mails) == 2
    third = await notifier.resend(original)
    await eventually(lambda: _settled(notifier, third.json()))
    assert len(server.mails) == 3


async def test_failed_or_skipped_mail_can_be_resent(
    notifier: Notifier, server: MailServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(handlers, "CUSTOMER_TIMEOUT_SECONDS", 0.1)
    server.answers.append("550 never")
    await notifier.receive(created("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "FAILED"}))
    await notifier.receive(of_jane("o2"))
    await eventually(lambda: _equal(notifier.outcomes("o2"), {"confirmation": "SKIPPED"}))
    await notifier.receive(JANE)
    for order_id in ("o1", "o2"):
        [original] = await notifier.log(order_id)
        asked = (await notifier.resend(original)).json()
        again = await eventually(lambda asked=asked: _settled(notifier, asked))
        assert again["status"] == "SENT"
    assert [mail["To"] for mail in server.mails] == ["jane@example.com"] * 2


async def test_resent_mail_without_recipient_is_skipped_again(notifier: Notifier):
    await notifier.receive(created("o1", email=None))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "SKIPPED"}))
    [original] = await notifier.log("o1")
    again = (await notifier.resend(original)).json()
    assert (again["status"], again["resendOf"]) == ("SKIPPED", original["notificationId"])
    assert await notifier.tasks() == []
    await notifier.assert_log_and_tables_agree()


async def test_pending_or_unknown_mail_cannot_be_resent(notifier: Notifier, server: MailServer):
    missing = await notifier.resend({"notificationId": "nothing"})
    assert missing.status_code == 404
    assert missing.json()["type"] == "urn:quadrille:problem:unknown-notification"
    await notifier.receive(created("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), CONFIRMED))
    [original] = await notifier.log("o1")
    server.answers.append("451 later")
    pending = (await notifier.resend(original)).json()
    refused = await notifier.resend(pending)
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:quadrille:problem:notification-pending"
    again = await eventually(lambda: _settled(notifier, pending))
    assert again["status"] == "SENT"
    of_that = (await notifier.resend(again)).json()
    assert of_that["resendOf"] == pending["notificationId"]
    await eventually(lambda: _settled(notifier, of_that))


async def test_requested_resend_survives_a_restart(shop_settings: ShopSettings, server: MailServer):
    away = replace(shop_settings, smtp_url=f"smtp://127.0.0.1:{free_port()}")
    async with notifying(replace(shop_settings, smtp_url="null:")) as notifier:
        await notifier.receive(created("o1"))
        await eventually(lambda: _equal(notifier.outcomes("o1"), CONFIRMED))
        [original] = await notifier.log("o1")
    async with notifying(away) as notifier:
        asked = (await notifier.resend(original)).json()
        await eventually(lambda: _has_failed_once(notifier))
    async with notifying(replace(away, smtp_url=server.url)) as notifier:
        again = await eventually(lambda: _settled(notifier, asked), 20)
    assert (again["status"], len(server.mails)) == ("SENT", 1)


async def test_one_connection_carries_many_mails(server: MailServer):
    async with delivering(server) as mailer:
        for _ in range(3):
            await mailer.deliver(MAIL, ORDER)
    assert (len(server.mails), server.sessions) == (3, 1)


async def test_closed_connection_is_replaced(server: MailServer):
    async with delivering(server) as mailer:
        await mailer.deliver(MAIL, ORDER)
        [connection] = mailer._idle
        connection.transport.close()
        await eventually(lambda: not connection.is_connected)
        await mailer.deliver(MAIL, ORDER)
    assert (len(server.mails), server.sessions) == (2, 2)


async def test_close_does_not_wait_for_unresponsive_server(server: MailServer):
    async with delivering(server) as mailer:
        await asyncio.gather(*(mailer.deliver(MAIL, ORDER) for _ in range(50)))
        server.may_answer.clear()
        async with asyncio.timeout(TIMEOUT_SECONDS / 2):
            await mailer.close()
    server.may_answer.set()


async def test_stop_waits_for_mails_in_flight(shop_settings: ShopSettings, server: MailServer):
    settings = replace(shop_settings, smtp_url=server.url)
    async with notifying(settings) as notifier:
        server.may_answer.clear()
        await notifier.receive(*(created(f"o{number}") for number in range(8)))
        await eventually(lambda: len(server.mails) == 8)
        asyncio.get_running_loop().call_later(0.5, server.may_answer.set)
    async with notifying(settings) as notifier:
        for number in range(8):
            order_id = f"o{number}"
            await eventually(
                lambda order_id=order_id: _equal(notifier.outcomes(order_id), CONFIRMED)
            )
    assert len(server.mails) == 8


async def test_concurrent_mails_share_few_connections(server: MailServer):
    async with delivering(server) as mailer:
        await asyncio.gather(*(mailer.deliver(MAIL, ORDER) for _ in range(50)))
    assert len(server.mails) == 50
    assert server.sessions <= 8


async def test_hanging_mail_server_times_out():
    writers: list[asyncio.StreamWriter] = []

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    mailer = SmtpMailer(SmtpServer(host="127.0.0.1", port=port), COMPOSER, timeout_seconds=0.1)
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await mailer.deliver(MAIL, ORDER)
    for writer in writers:
        writer.close()
    server.close()


@pytest.mark.parametrize("stage", ["answers", "verdicts"])
async def test_temporary_and_permanent_refusals_are_distinguished(server: MailServer, stage: str):
    setattr(server, stage, ["451 later", "550 never"])
    async with delivering(server) as mailer:
        with pytest.raises(SMTPException):
            await mailer.deliver(MAIL, ORDER)
        with pytest.raises(Unsendable, match="550 never"):
            await mailer.deliver(MAIL, ORDER)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, self-signed, with its key in the same file."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", path),
        ],
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture
async def tls_server(certificate: Path) -> AsyncIterator[MailServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    options = {"tls_context": context, "require_starttls": True, "auth_required": True}
    async with MailServer(**options).running() as running:
        yield running


async def test_mail_and_password_are_sent_under_tls(
    tls_server: MailServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with delivering(tls_server, user="jane:p%40ss@") as mailer:
        await mailer.deliver(MAIL, ORDER)
    assert tls_server.were_encrypted == [True]
    assert tls_server.passwords == [b"p@ss"]


async def test_mail_waits_after_wrong_smtp_password(
    tls_server: MailServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with delivering(tls_server, user="jane:wrong@") as mailer:
        with pytest.raises(SMTPAuthenticationError):
            await mailer.deliver(MAIL, ORDER)
    assert tls_server.mails == []


async def test_unverified_server_receives_nothing(tls_server: MailServer):
    async with delivering(tls_server, user="jane:p%40ss@") as mailer:
        with pytest.raises((SMTPException, OSError)):
            await mailer.deliver(MAIL, ORDER)
    assert (tls_server.mails, tls_server.passwords) == ([], [])


async def _equal(outcomes, expected: dict[str, str]) -> bool:
    assert await outcomes == expected
    return True


async def _has_failed_once(notifier: Notifier) -> bool:
    return any(row["attempts"] for row in await notifier.tasks())


async def _settled(notifier: Notifier, entry: dict) -> dict | None:
    current = (await notifier.get(f"/notifications/{entry['notificationId']}")).json()
    return current if current["status"] != "PENDING" else None


async def _all_of(notifier: Notifier, count: int) -> dict | None:
    page = (await notifier.get("/notifications")).json()
    return page if len(page["items"]) == count else None


async def test_resends_per_order_are_limited(shop_settings: ShopSettings, server: MailServer):
    limited = replace(shop_settings, smtp_url="null:", rate_limits="resends_per_order=1/day")
    async with notifying(limited) as notifier:
        await notifier.receive(created("o1"), created("o2"))
        await eventually(lambda: _equal(notifier.outcomes("o2"), CONFIRMED))
        [first], [other] = await notifier.log("o1"), await notifier.log("o2")
        answers = [await notifier.resend(entry) for entry in (first, first, other)]
    assert [answer.status_code for answer in answers] == [202, 429, 202]
