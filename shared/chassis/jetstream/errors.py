"""The broker's errors as sentences for operators, without passwords and without ids."""

import asyncio
import re
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors

from shared.chassis.errors import FAILED, FatalError

DEFAULT_PORT = 4222
QUIET_SECONDS = 30

BROKER_ERRORS = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
"""Raised when the broker is down, slow or refuses. Wait, and try again."""

_PERMISSIONS = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')
_AUTHORIZATION = "authorization violation"
_ENTITY = re.compile(r"\b(shop\.[a-z]+)\.[^.]+\.")
_INBOX = re.compile(r"\b(_inbox_[a-z]+)\..*")
_VERBS = {"publish": "publish", "subscription": "subscribe"}


class NotPermitted(nats.errors.Error):
    """The broker refused this user an operation; the message names it."""


class NotProvisioned(nats.errors.Error):
    """The stream is missing, and this user may not create it."""


class ConsumerInUse(nats.errors.Error):
    """Two processes with different databases consume as one service; the second one waits."""


class NotAnswered(nats.errors.Error):
    """The owner of an event log did not answer a request for a page of it."""


class ConnectionLostError(FatalError):
    """The connection is closed permanently: only a new process gets another one."""

    exit_code = FAILED


def address_of(url: str) -> str:
    """The URL without user and password, with its port: `nats://127.0.0.1:4222`."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or DEFAULT_PORT}"


def user_of(url: str) -> str | None:
    return urlsplit(url if "://" in url else f"nats://{url}").username


def refused_subject(error: Exception) -> str | None:
    """The subject that this user may not use, in lower case as nats-py reports it; None for other errors."""
    match = _PERMISSIONS.search(str(error).lower())
    return match[2] if match else None


def text_of(error: Exception) -> str:
    """The error's message without the prefix and quotes of nats-py."""
    if isinstance(error, nats.js.errors.APIError) and error.description:
        return error.description
    text = str(error) or type(error).__name__
    return text.removeprefix("nats: ").strip("'")


def described(error: Exception, url: str) -> str:
    """The error of a connection to this broker, in one sentence."""
    text = text_of(error)
    if match := _PERMISSIONS.search(text.lower()):
        subject = _INBOX.sub(r"\1.>", _ENTITY.sub(r"\1.*.", match[2]))
        return f"the broker does not permit {_user(url)} to {_VERBS[match[1]]} to {subject}"
    if _AUTHORIZATION in text.lower():
        return f"the broker at {address_of(url)} refuses {_user(url)} (wrong user or password)"
    return f"no broker at {address_of(url)} ({_reason(error, text)})"


def _user(url: str) -> str:
    user = user_of(url)
    return f"the user {user}" if user else "a user without a name"


def _reason(error: Exception, text: str) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, nats.errors.UnexpectedEOF):
        return "it closed the connection"
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return text


class RecentSentences:
    """The sentences of the last half minute, so that repetitions do not fill a log."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def is_new(self, sentence: str) -> bool:
        """Whether the sentence did not occur in the last half minute; remembers it."""
        now = asyncio.get_running_loop().time()
        self._until = {text: until for text, until in self._until.items() if until > now}
        if sentence in self._until:
            return False
        self._until[sentence] = now + QUIET_SECONDS
        return True
