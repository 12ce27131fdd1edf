"""Delivers mails over SMTP, or not at all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import unquote, urlsplit

from aiosmtplib import SMTP, SMTPDataError, SMTPRecipientsRefused
from msgspec import Struct

from notifier_service.account_mails import AccountMail
from notifier_service.composer import Composer, Unsendable
from notifier_service.domain import KnownOrder
from notifier_service.mail_links import MailLinks
from notifier_service.mails import Mail
from shared.chassis.failpoints import failpoint
from shared.chassis.settings import SettingsError
from shared.settings import ShopSettings

MAX_CONNECTIONS = 8
TIMEOUT_SECONDS = 10.0
"""For each SMTP command."""
CLOSE_SECONDS = 1.0
PERMANENT = range(500, 600)

SMTP_PORT = 25
SMTPS_PORT = 465

NO_SERVER = (
    "QUADRILLE_SMTP_URL: expected smtp://[user:password@]host[:port], smtps:// alike, or null:"
)


class Mailer(Protocol):
    """When `deliver` returns, the mail server is responsible for the mail."""

    async def deliver(self, mail: Mail, order: KnownOrder) -> None:
        """Raises Unsendable, or anything else for a failure that may be temporary."""
        ...

    async def deliver_account_mail(self, mail: AccountMail) -> None:
        """Raises as `deliver`."""
        ...

    async def close(self) -> None: ...


class NullMailer:
    """Sends nothing, so that mails are only recorded; they are not even composed.

    It is only called if the order arrives later than the event that leads to the mail.
    """

    async def deliver(self, mail: Mail, order: KnownOrder) -> None:
        pass

    async def deliver_account_mail(self, mail: AccountMail) -> None:
        pass

    async def close(self) -> None:
        pass


class SmtpServer(Struct, frozen=True, kw_only=True):
    """The mail server and its credentials."""

    host: str
    port: int
    is_tls: bool = False
    username: str | None = None
    password: str | None = None

    @property
    def must_upgrade(self) -> bool:
        """Whether STARTTLS is required: a password is never sent to another machine unencrypted."""
        return self.username is not None and not self.is_tls and not _is_loopback(self.host)


class SmtpMailer:
    """Keeps a few connections open and sends over a free one."""

    def __init__(
        self, server: SmtpServer, composer: Composer, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._server = server
        self._composer = composer
        self._timeout_seconds = timeout_seconds
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[SMTP] = []

    async def deliver(self, mail: Mail, order: KnownOrder) -> None:
        """Send it, over TLS if the server supports it."""
        await self._deliver(self._composer.compose(mail, order))

    async def deliver_account_mail(self, mail: AccountMail) -> None:
        await self._deliver(self._composer.compose_account_mail(mail))

    async def _deliver(self, message: EmailMessage) -> None:
        async with self._connection() as connection:
            await _send(connection, message)
        failpoint("after_smtp_accepted")

    async def close(self) -> None:
        """Send QUIT on all connections; a server that does not answer is not waited for."""
        idle, self._idle = self._idle, []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                quits = (connection.quit() for connection in idle)
                await asyncio.gather(*quits, return_exceptions=True)
        for connection in idle:
            connection.close()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[SMTP]:
        """An open connection; one on which something failed is not used again."""
        async with self._room:
            connection = self._take_idle() or await self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    def _take_idle(self) -> SMTP | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_connected:
                return connection
        return None

    async def _connect(self) -> SMTP:
        server = self._server
        connection = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.is_tls,
            start_tls=True if server.must_upgrade else None,
            timeout=self._timeout_seconds,
        )
        await connection.connect()
        return connection


def build_mailer(settings: ShopSettings, links: MailLinks) -> Mailer:
    """Raises SettingsError naming the invalid setting."""
    server = read_url(settings.smtp_url)
    sender = read_sender(settings.mail_from)
    return (
        SmtpMailer(server, Composer(sender, settings.default_locale, links))
        if server
        else NullMailer()
    )


def read_url(url: str) -> SmtpServer | None:
    """The server that a URL names; None for `null:`. Raises SettingsError."""
    if url == "null:":
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(NO_SERVER) from error
    has_more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or has_more:
        raise SettingsError(NO_SERVER)
    is_tls = parts.scheme == "smtps"
    return SmtpServer(
        host=parts.hostname,
        port=port or (SMTPS_PORT if is_tls else SMTP_PORT),
        is_tls=is_tls,
        username=_unquoted(parts.username),
        password=_unquoted(parts.password),
    )


def read_sender(mail_from: str) -> Address:
    """The sender's name and address. Raises SettingsError."""
    header = EmailMessage()
    with contextlib.suppress(ValueError, MessageError):
        header["From"] = mail_from
    addresses: tuple[Address, ...] = header["From"].addresses if "From" in header else ()
    if len(addresses) != 1 or not (addresses[0].username and addresses[0].domain):
        raise SettingsError(
            "QUADRILLE_MAIL_FROM: expected one address, as in Shop <shop@example.com>"
        )
    return addresses[0]


async def _send(connection: SMTP, message: EmailMessage) -> None:
    try:
        await connection.send_message(message)
    except SMTPRecipientsRefused as refusal:
        answer = refusal.recipients[0]
        if answer.code in PERMANENT:
            raise Unsendable(
                f"the mail server refused the recipient: {answer.code} {answer.message}"
            ) from refusal
        raise
    except SMTPDataError as refusal:
        if refusal.code in PERMANENT:
            raise Unsendable(
                f"the mail server refused the mail: {refusal.code} {refusal.message}"
            ) from refusal
        raise


def _unquoted(part: str | None) -> str | None:
    return None if part is None else unquote(part)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
