"""The SMTP server: accepts every mail, once it is stored."""

import asyncio
import mailbox
import sys
from asyncio import to_thread
from socket import AF_INET, AF_INET6, create_server, socket

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from quadrille.mailbox.storage import MailStorage

log = structlog.get_logger()


class MailHandler:
    """Stores mails for aiosmtpd."""

    def __init__(self, storage: MailStorage) -> None:
        self._storage = storage

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """The reply to the sender: accepted when stored, otherwise to be sent again later."""
        content = envelope.original_content or b""
        sender, recipients = envelope.mail_from or "", envelope.rcpt_tos
        try:
            mail_id = await to_thread(self._storage.add, sender, recipients, content)
        except (OSError, mailbox.Error) as error:
            log.error("mail.rejected", reason=str(error))  # noqa: TRY400 - the reason suffices
            return "452 4.3.1 the mailbox cannot be written"
        log.info("mail.received", mail_id=mail_id, recipients=recipients)
        return f"250 stored as {mail_id}"


class SmtpServer:
    """Listens from the application's start to its end."""

    def __init__(self, listening: socket, handler: MailHandler) -> None:
        self._listening = listening
        self._handler = handler
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self._handler, enable_SMTPUTF8=True, hostname="mailbox", loop=loop),
            sock=self._listening,
        )

    async def stop(self) -> None:
        if self._server:
            self._server.close()

    def waiting_for(self) -> list[str]:
        is_listening = self._server is not None and self._server.is_serving()
        return [] if is_listening else ["its SMTP port"]


def listen(host: str, port: int) -> socket:
    """Exits with one sentence when the port cannot be used."""
    try:
        return create_server((host, port), family=AF_INET6 if ":" in host else AF_INET)
    except OSError as error:
        sys.exit(f"mailbox: port {port} on {host} cannot be used: {error.strerror}")
