"""Mails in a Maildir, which any mail program can read; the id of a mail is its Maildir key.

Maildir names a message by the time of its delivery, so sorting by key is sorting by time.
"""

import mailbox
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import default
from itertools import islice
from pathlib import Path
from uuid import UUID

import msgspec

KEY = re.compile(r"(\d+)\.M(\d+)P\d+Q(\d+)\..+")
"""Seconds since 1970, microseconds, process, number within the process, host."""
EML_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PARSE_ERRORS = (MessageError, LookupError, ValueError, TypeError, AttributeError)
"""What the standard library raises for mails that follow no standard."""

Position = tuple[int, int, int]
FIRST = (0, 0, 0)


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A mail in a list; headers decoded, empty if missing."""

    mail_id: str
    received_at: datetime
    message_id: str
    sender: str = msgspec.field(name="from")
    to: str
    subject: str
    size_bytes: int


class Mail(Summary, frozen=True, kw_only=True):
    """A mail with its two readable parts; None if it has no such part."""

    html: str | None
    text: str | None


class MailStorage:
    """The mails of one directory; files that are not named as Maildir names them are ignored."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for part in ("cur", "new", "tmp"):
            (directory / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        _migrate_eml_files(directory)

    def add(self, sender: str, recipients: Sequence[str], content: bytes) -> str:
        """Store a mail durably, with its envelope as first headers; returns its id. Raises OSError, mailbox.Error."""
        headers = [f"Return-Path: <{_printable(sender)}>"]
        headers += [f"Delivered-To: {_printable(recipient)}" for recipient in recipients]
        envelope = "".join(f"{header}\r\n" for header in headers).encode()
        return self._maildir().add(envelope + content)

    def newest(self, limit: int, before: str | None = None) -> list[Summary]:
        """Summaries, the latest first, of mails older than the mail `before`."""
        return list(islice(self._summaries(before), limit))

    def count(self) -> int:
        return sum(1 for key in self._maildir().iterkeys() if _position(key))

    def raw(self, mail_id: str) -> bytes | None:
        """The message as stored; None for an unknown id."""
        return _content(self._maildir(), mail_id)

    def read(self, mail_id: str) -> Mail | None:
        """The mail without the parts that cannot be parsed; None for an unknown id."""
        content = self.raw(mail_id)
        if content is None:
            return None
        message = _parse(content)
        summary = msgspec.structs.asdict(_summary(mail_id, content, message))
        return Mail(**summary, html=_part(message, "html"), text=_part(message, "plain"))

    def _summaries(self, before: str | None) -> Iterator[Summary]:
        maildir = self._maildir()
        keys = {position: key for key in maildir.iterkeys() if (position := _position(key))}
        end = None if before is None else _position(before) or FIRST
        for position in sorted(keys, reverse=True):
            if end is None or position < end:
                content = _content(maildir, keys[position])
                if content is not None:
                    yield _summary(keys[position], content, _parse(content))

    def _maildir(self) -> mailbox.Maildir:
        # A new one for each call, because threads cannot share its table of contents.
        return mailbox.Maildir(self._directory, create=False)


def _content(maildir: mailbox.Maildir, mail_id: str) -> bytes | None:
    if not _position(mail_id):
        return None
    try:
        return maildir.get_bytes(mail_id)
    except (KeyError, FileNotFoundError):
        return None


def _position(mail_id: str) -> Position | None:
    """What mails are sorted by; None for a file that is no mail."""
    match = KEY.fullmatch(mail_id)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _summary(mail_id: str, content: bytes, message: EmailMessage) -> Summary:
    seconds, microseconds, _ = _position(mail_id) or FIRST
    return Summary(
        mail_id=mail_id,
        received_at=EPOCH + timedelta(seconds=seconds, microseconds=microseconds),
        message_id=_header(message, "Message-ID"),
        sender=_header(message, "From"),
        to=_header(message, "To") or _header(message, "Delivered-To"),
        subject=_header(message, "Subject"),
        size_bytes=len(content),
    )


def _parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, _class=EmailMessage, policy=default)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, ""))
    except PARSE_ERRORS:
        return ""


def _part(message: EmailMessage, kind: str) -> str | None:
    try:
        body = message.get_body((kind,))
        return None if body is None else str(body.get_content())
    except PARSE_ERRORS:
        return None


def _printable(address: str) -> str:
    return "".join(character for character in address if character.isprintable())


def _migrate_eml_files(directory: Path) -> None:
    """Move mails of earlier releases, `<UUIDv7>.eml`, into the Maildir, with the time of their delivery."""
    paths = sorted(path for path in directory.glob("*.eml") if EML_NAME.fullmatch(path.stem))
    for number, path in enumerate(paths):
        milliseconds = UUID(path.stem).int >> 80
        seconds, rest = divmod(milliseconds, 1000)
        path.rename(directory / "new" / f"{seconds}.M{rest * 1000}P0Q{number}.{path.stem}")
