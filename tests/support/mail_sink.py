"""A real SMTP server in the test's own process that stores every mail."""

import asyncio
from collections import Counter, defaultdict
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from enum import Enum, auto
from threading import Lock

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.ports import free_port

POLL_SECONDS = 0.1


class Answer(Enum):
    """How a mail is answered that was transmitted in full."""

    ACCEPTED = auto()
    BUSY = auto()
    """Refused for now."""
    NONE = auto()
    """As long as it lasts; then it is refused for now."""
    LOST = auto()
    """Accepted, but the connection breaks before the sender learns it."""


class MailSink:
    """Listens on a free port of the loopback; may be stopped and started again on the same one."""

    def __init__(self) -> None:
        self.answer = Answer.ACCEPTED
        self.unanswered: Counter[str] = Counter()
        """How often the acceptance of each `Message-ID` was lost."""
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

    def message_ids(self) -> Counter[str]:
        """How often each `Message-ID` was accepted."""
        with self._lock:
            return Counter(mail["Message-ID"] for mails in self._mails.values() for mail in mails)

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Store the mail, then accept it, unless `answer` is another."""
        answer = self.answer
        while self.answer is Answer.NONE:  # noqa: ASYNC110 - another thread changes it
            await asyncio.sleep(POLL_SECONDS)
        if answer in {Answer.BUSY, Answer.NONE}:
            return "451 try again later"
        mail = self._store(envelope)
        if answer is Answer.LOST and server.transport:
            self.unanswered[mail["Message-ID"]] += 1
            server.transport.abort()
        return "250 OK"

    def _store(self, envelope: Envelope) -> EmailMessage:
        assert envelope.original_content is not None
        mail = message_from_bytes(envelope.original_content, policy=default)
        with self._lock:
            self._mails[str(mail["To"])].append(mail)
        return mail
