"""Mails as files, one `.eml` each, named by a UUIDv7: a listing by name is a listing by time."""

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from uuid import UUID

import msgspec

from shared.chassis.messages.clock import new_id

MAIL_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BROKEN = (MessageError, LookupError, ValueError, TypeError, AttributeError)
"""What the standard library makes of mails that no standard covers."""


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A mail as the list shows it; headers decoded, empty where missing."""

    mail_id: str
    received_at: datetime
    message_id: str
    sender: str = msgspec.field(name="from")
    to: str
    subject: str
    size_bytes: int


class Mail(Summary, frozen=True, kw_only=True):
    """A mail with its two readable parts; None where it has none."""

    html: str | None
    text: str | None


class MailFiles:
    """The mails in one directory; only files named like ours are mails."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def keep(self, sender: str, recipients: Sequence[str], content: bytes) -> str:
        """Keep a mail durably, with its envelope in front, and return its id. Raises OSError."""
        mail_id = new_id()
        lines = [f"Return-Path: <{_printable(sender)}>"]
        lines += [f"Delivered-To: {_printable(recipient)}" for recipient in recipients]
        envelope = "".join(f"{line}\r\n" for line in lines).encode()
        unfinished = self._directory / f"{mail_id}.part"
        with unfinished.open("xb") as file:
            file.write(envelope + content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self._path(mail_id))
        return mail_id

    def newest(self, most: int, before: str | None = None) -> list[Summary]:
        """Summaries, the latest first, of mails older than `before` where that is given."""
        mail_ids = [path.stem for path in self._directory.glob("*.eml")]
        wanted = (
            mail_id
            for mail_id in sorted(mail_ids, reverse=True)
            if MAIL_ID.fullmatch(mail_id) and (before is None or mail_id < before)
        )
        found: list[Summary] = []
        for mail_id in wanted:
            if len(found) == most:
                break
            if mail := self.read(mail_id):
                found.append(_summary(mail))
        return found

    def count(self) -> int:
        """How many there are."""
        return sum(1 for path in self._directory.glob("*.eml") if MAIL_ID.fullmatch(path.stem))

    def raw(self, mail_id: str) -> bytes | None:
        """The file's bytes; None where there is no such mail, or the id is none."""
        if not MAIL_ID.fullmatch(mail_id):
            return None
        try:
            return self._path(mail_id).read_bytes()
        except FileNotFoundError:
            return None

    def read(self, mail_id: str) -> Mail | None:
        """The mail taken apart; parts that can not be understood are missing."""
        content = self.raw(mail_id)
        if content is None:
            return None
        message = message_from_bytes(content, _class=EmailMessage, policy=default)
        return Mail(
            mail_id=mail_id,
            received_at=_time_of(mail_id),
            message_id=_header(message, "Message-ID"),
            sender=_header(message, "From"),
            to=_header(message, "To") or _header(message, "Delivered-To"),
            subject=_header(message, "Subject"),
            size_bytes=len(content),
            html=_part(message, "html"),
            text=_part(message, "plain"),
        )

    def _path(self, mail_id: str) -> Path:
        return self._directory / f"{mail_id}.eml"


def _summary(mail: Mail) -> Summary:
    return Summary(**{name: getattr(mail, name) for name in Summary.__struct_fields__})


def _time_of(mail_id: str) -> datetime:
    """The moment a UUIDv7 was made; its first 48 bits are milliseconds."""
    return datetime.fromtimestamp((UUID(mail_id).int >> 80) / 1000, UTC)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, ""))
    except BROKEN:
        return ""


def _part(message: EmailMessage, kind: str) -> str | None:
    try:
        body = message.get_body((kind,))
        return None if body is None else str(body.get_content())
    except BROKEN:
        return None


def _printable(address: str) -> str:
    return "".join(character for character in address if character.isprintable())
