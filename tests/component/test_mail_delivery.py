"""Mails on their way to a real SMTP server: once, again where that may help, and never for ever."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from aiosmtplib import SMTPAuthenticationError, SMTPException
from httpx import ASGITransport, AsyncClient
from litestar import Litestar
from msgspec.structs import replace

from notifier_service import store
from notifier_service.app import build
from notifier_service.delivery import SmtpMailer, SmtpServer, read_sender, read_url
from notifier_service.domain import KnownOrder, Mail, Mailroom, Template, evolve
from notifier_service.mail import Composer, Unsendable
from shared import event_log, task
from shared.config import Settings
from shared.contracts import (
    Event,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderItem,
    ShipmentInitiated,
)
from shared.contracts.recorded import Recorded
from shared.database import database_url, open_for_reading, read_rows
from tests.support.chassis import publishing
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.ports import free_port

ORDER = KnownOrder(
    order_id="o1",
    email="jane@example.com",
    locale="en",
    items=(OrderItem(product_id="prod001", name="Super Keyboard", quantity=2, price=5000),),
    total_amount=10_000,
    currency="JPY",
    shipping_address=None,
)
MAIL = Mail(notification_id="n1", event_id="e1", order_id="o1", template=Template.CONFIRMATION)
COMPOSER = Composer(read_sender("Quadrille <shop@quadrille.example>"), "en")


class MailServer:
    """A real SMTP server that answers each recipient and each mail as it is told."""

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
        return SMTP(self, hostname="localhost", authenticator=self._check, **self.options)

    def _check(self, _server, _session, _envelope, _mechanism, login: LoginPassword) -> AuthResult:
        self.passwords.append(login.password)
        return AuthResult(success=login.password == b"p@ss", handled=False)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options
    ) -> str:
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        verdict = self.verdicts.pop(0) if self.verdicts else "250 OK"
        if verdict.startswith("250"):
            assert envelope.original_content
            self.mails.append(message_from_bytes(envelope.original_content, policy=default))
            self.were_encrypted.append(session.ssl is not None)
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


class Notifier:
    """The whole service at work, heard and asked as by others."""

    def __init__(self, settings: Settings, http: AsyncClient, say) -> None:
        self._settings = settings
        self._http = http
        self._say = say

    async def hears(self, *events: Event | Recorded) -> list[Recorded]:
        told = [event if isinstance(event, Recorded) else recorded(event) for event in events]
        await self._say(told)
        return told

    async def log(self, order_id: str) -> list[dict]:
        answer = await self._http.get("/notifications", params={"orderId": order_id})
        return answer.json()["items"]

    async def get(self, path: str):
        return await self._http.get(path)

    async def outcomes(self, order_id: str) -> dict[str, str]:
        return {entry["template"]: entry["status"] for entry in await self.log(order_id)}

    async def tasks(self) -> list[dict]:
        reads = open_for_reading(database_url("notifier", self._settings))
        rows = await reads.run(lambda connection: read_rows(connection, task.TASK))
        await reads.close()
        return rows

    async def assert_log_and_table_agree(self) -> None:
        reads = open_for_reading(database_url("notifier", self._settings))
        history = await reads.run(lambda each: list(event_log.read_all(each, "notifier")))
        room = Mailroom()
        for event in history:
            room = evolve(room, event)
        table = await reads.run(store.read_all)
        await reads.close()
        assert room.notifications == table.notifications


@contextlib.asynccontextmanager
async def started(app: Litestar) -> AsyncIterator[Litestar]:
    """What `app.lifespan()` does, but enters and leaves in different tasks, as fixtures do."""
    for hook in app.on_startup:
        await hook()
    try:
        yield app
    finally:
        for hook in app.on_shutdown:
            await hook()


@contextlib.asynccontextmanager
async def notifying(settings: Settings) -> AsyncIterator[Notifier]:
    async with (
        started(build(settings)) as app,
        AsyncClient(transport=ASGITransport(app), base_url="http://notifier") as http,
        publishing(settings) as broker,
    ):
        yield Notifier(settings, http, broker.publish)


@pytest.fixture
async def notifier(shop_settings: Settings, server: MailServer) -> AsyncIterator[Notifier]:
    async with notifying(replace(shop_settings, smtp_url=server.url)) as running:
        yield running


def created(order_id: str, email: str | None = "jane@example.com") -> OrderCreated:
    return OrderCreated(
        order_id=order_id,
        user_id="user123",
        email=email,
        items=ORDER.items,
        total_amount=10_000,
        currency="JPY",
    )


async def test_each_event_is_mailed_once_however_often_it_is_heard(
    notifier: Notifier, server: MailServer
):
    first = recorded(created("o1"))
    shipped = recorded(
        ShipmentInitiated(shipment_id="s1", order_id="o1", shipping_address=None, items=())
    )
    done = recorded(OrderCompleted(order_id="o1", tracking_number="T-1"))
    await notifier.hears(first, shipped, done)
    all_sent = {"confirmation": "SENT", "dispatched": "SENT", "delivered": "SENT"}
    await eventually(lambda: _equal(notifier.outcomes("o1"), all_sent))
    await notifier.hears(first, shipped, done)
    await notifier.hears(created("o2"))
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
    await notifier.assert_log_and_table_agree()


async def test_a_mail_refused_for_now_is_sent_later(notifier: Notifier, server: MailServer):
    server.answers = ["451 try again later"]
    server.verdicts = ["452 no room just now"]
    await notifier.hears(created("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "SENT"}), 20)
    assert len(server.mails) == 1


@pytest.mark.parametrize("stage", ["answers", "verdicts"])
async def test_a_mail_refused_for_good_fails_at_once_and_alone(
    notifier: Notifier, server: MailServer, stage: str
):
    setattr(server, stage, ["550 nobody of that name"])
    await notifier.hears(created("o1"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "FAILED"}))
    [entry] = await notifier.log("o1")
    assert "550 nobody of that name" in entry["error"]
    assert entry["recipient"] == "j***@example.com"
    await notifier.hears(created("o2"))
    await eventually(lambda: _equal(notifier.outcomes("o2"), {"confirmation": "SENT"}))
    await notifier.assert_log_and_table_agree()


async def test_an_order_without_an_address_is_skipped(notifier: Notifier, server: MailServer):
    await notifier.hears(created("o1", email=None), OrderCancelled(order_id="o1", reason="EXPIRED"))
    skipped = {"confirmation": "SKIPPED", "cancelled": "SKIPPED"}
    await eventually(lambda: _equal(notifier.outcomes("o1"), skipped))
    assert server.sessions == 0
    assert await notifier.tasks() == []
    await notifier.assert_log_and_table_agree()


async def test_an_address_that_is_none_fails_at_once(notifier: Notifier, server: MailServer):
    await notifier.hears(created("o1", email="jane,all@example.com"))
    await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "FAILED"}))
    assert server.sessions == 0


async def test_events_out_of_order_are_all_mailed(notifier: Notifier, server: MailServer):
    done = OrderCompleted(order_id="o1", tracking_number="T-1")
    await notifier.hears(done)
    await eventually(lambda: _has_failed_once(notifier))
    await notifier.hears(created("o1"))
    both = {"confirmation": "SENT", "delivered": "SENT"}
    await eventually(lambda: _equal(notifier.outcomes("o1"), both))
    assert len(server.mailed("o1")) == 2


async def test_mails_wait_for_a_server_that_is_away_and_hold_up_nothing(
    shop_settings: Settings, server: MailServer
):
    away = replace(shop_settings, smtp_url=f"smtp://127.0.0.1:{free_port()}")
    async with notifying(away) as notifier:
        await notifier.hears(created("o1"), created("o2", email=None))
        await eventually(lambda: _equal(notifier.outcomes("o2"), {"confirmation": "SKIPPED"}))
        await eventually(lambda: _has_failed_once(notifier))
        assert await notifier.outcomes("o1") == {}
    async with notifying(replace(away, smtp_url=server.url)) as notifier:
        await eventually(lambda: _equal(notifier.outcomes("o1"), {"confirmation": "SENT"}), 20)
    assert len(server.mails) == 1


async def test_mails_are_recorded_without_sending_where_the_url_is_null(
    shop_settings: Settings, server: MailServer
):
    async with notifying(replace(shop_settings, smtp_url="null:")) as notifier:
        done = OrderCompleted(order_id="o1", tracking_number="T-1")
        await notifier.hears(done, created("o1"), created("o2", email=None))
        both = {"confirmation": "SENT", "delivered": "SENT"}
        await eventually(lambda: _equal(notifier.outcomes("o1"), both))
        await eventually(lambda: _equal(notifier.outcomes("o2"), {"confirmation": "SKIPPED"}))
        assert await notifier.tasks() == []
        await notifier.assert_log_and_table_agree()


async def test_the_notification_log_is_read_page_by_page_newest_first(
    shop_settings: Settings, server: MailServer
):
    async with notifying(replace(shop_settings, smtp_url="null:")) as notifier:
        await notifier.hears(*(created(f"o{number}") for number in range(5)))
        whole = (await eventually(lambda: _all_of(notifier, 5)))["items"]
        first = (await notifier.get("/notifications?limit=3")).json()
        rest = (await notifier.get(f"/notifications?limit=3&cursor={first['nextCursor']}")).json()
        assert first["items"] + rest["items"] == whole
        assert [entry["orderId"] for entry in whole] == ["o4", "o3", "o2", "o1", "o0"]
        assert rest["nextCursor"] is None
        one = await notifier.get(f"/notifications/{whole[0]['notificationId']}")
        assert one.json() == whole[0]
        missing = await notifier.get("/notifications/nothing")
        assert missing.status_code == 404
        assert missing.json()["type"] == "urn:quadrille:problem:unknown-notification"
        assert (await notifier.get("/notifications?cursor=x")).status_code == 400


async def test_one_connection_carries_many_mails(server: MailServer):
    async with delivering(server) as mailer:
        for _ in range(3):
            await mailer.deliver(MAIL, ORDER)
    assert (len(server.mails), server.sessions) == (3, 1)


async def test_a_connection_that_was_closed_meanwhile_is_replaced(server: MailServer):
    async with delivering(server) as mailer:
        await mailer.deliver(MAIL, ORDER)
        [connection] = mailer._idle
        connection.transport.close()
        await eventually(lambda: not connection.is_connected)
        await mailer.deliver(MAIL, ORDER)
    assert (len(server.mails), server.sessions) == (2, 2)


async def test_many_mails_at_once_share_a_few_connections(server: MailServer):
    async with delivering(server) as mailer:
        await asyncio.gather(*(mailer.deliver(MAIL, ORDER) for _ in range(50)))
    assert len(server.mails) == 50
    assert server.sessions <= 8


async def test_a_server_that_hangs_is_given_up_in_time():
    held: list[asyncio.StreamWriter] = []

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    mailer = SmtpMailer(SmtpServer(host="127.0.0.1", port=port), COMPOSER, timeout_seconds=0.1)
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await mailer.deliver(MAIL, ORDER)
    for writer in held:
        writer.close()
    server.close()


@pytest.mark.parametrize("stage", ["answers", "verdicts"])
async def test_what_may_pass_and_what_is_final_are_told_apart(server: MailServer, stage: str):
    setattr(server, stage, ["451 later", "550 never"])
    async with delivering(server) as mailer:
        with pytest.raises(SMTPException):
            await mailer.deliver(MAIL, ORDER)
        with pytest.raises(Unsendable, match="550 never"):
            await mailer.deliver(MAIL, ORDER)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, and its key, in one file."""
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


async def test_a_server_that_offers_tls_gets_mail_and_password_under_it(
    tls_server: MailServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with delivering(tls_server, user="jane:p%40ss@") as mailer:
        await mailer.deliver(MAIL, ORDER)
    assert tls_server.were_encrypted == [True]
    assert tls_server.passwords == [b"p@ss"]


async def test_a_wrong_password_may_be_mended_so_the_mail_waits(
    tls_server: MailServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with delivering(tls_server, user="jane:wrong@") as mailer:
        with pytest.raises(SMTPAuthenticationError):
            await mailer.deliver(MAIL, ORDER)
    assert tls_server.mails == []


async def test_a_server_that_can_not_prove_its_name_gets_nothing(tls_server: MailServer):
    async with delivering(tls_server, user="jane:p%40ss@") as mailer:
        with pytest.raises((SMTPException, OSError)):
            await mailer.deliver(MAIL, ORDER)
    assert (tls_server.mails, tls_server.passwords) == ([], [])


async def _equal(outcomes, wanted: dict[str, str]) -> bool:
    found = await outcomes
    assert found == wanted
    return True


async def _has_failed_once(notifier: Notifier) -> bool:
    return any(row["attempts"] for row in await notifier.tasks())


async def _all_of(notifier: Notifier, count: int) -> dict | None:
    page = (await notifier.get("/notifications")).json()
    return page if len(page["items"]) == count else None
