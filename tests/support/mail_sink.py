"""A real SMTP server in the test's own process that stores every mail."""

from collections import defaultdict
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from threading import Lock

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.ports import free_port


class MailSink:
    """Listens on a free port of the loopback; may be stopped and started again on the same one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._mails: dict[str, list[EmailMessage]] = defaultdict(list)
        self._port = free_port()
        self._controller: Controller | None = None

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port)
        self._controller.start()

    def stop(self) -> None:
        """Refuse connections; does nothing when it does not run."""
        if self._controller:
            self._controller.stop()
            self._controller = None

    def mails(self, recipient: str) -> list[EmailMessage]:
        """Those accepted so far for this address, oldest first."""
        with self._lock:
            return list(self._mails[recipient])

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Store the mail, then accept it."""
        assert envelope.original_content is not None
        mail = message_from_bytes(envelope.original_content, policy=default)
        with self._lock:
            self._mails[str(mail["To"])].append(mail)
        return "250 OK"
