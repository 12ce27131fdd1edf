"""Which connections a process serves: as many as the setting allows; further ones are answered 503 without reading them.

Of the requests that change something, fewer are worked on while their responses take too long: clients that get an
early 503 can come back, whereas a response after their timeout is work for nobody.

Libuv accepts one connection per iteration of the event loop. Under load the others would wait in the kernel's queue
until their clients give up, where nobody can refuse them. So each connection that arrives accepts those behind it.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from litestar.types import Receive, Scope, Send

from shared.chassis.http.problems import MEDIA_TYPE, document, slug_of

SPARE_CONNECTIONS = 1024
"""This many connections above the limit may be open until they have read their 503; further ones are closed with it."""
HEALTH = b"GET /health/"
"""Served on any connection: an overloaded process must not be taken for a dead one."""
MAX_REFUSED_BYTES = 64 * 1024
"""A longer request is refused by the event loop, which waits until the client has read the response."""

SAFE_METHODS = (b"GET", b"HEAD", b"OPTIONS")
LATE_SECONDS = 1
"""A response that takes longer makes the limit shrink."""
MIN_CHANGES = 32
SHRINK_FACTOR = 0.7
SHRINK_SECONDS = 1
GROWTH_PER_SECOND = 64

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d{1,6})\r", re.IGNORECASE)


def response(status: HTTPStatus, reason: str, *headers: str) -> bytes:
    """A problem document that closes the connection, for a request that no route has seen."""
    body = document(status, slug_of(status), reason)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"content-type: {MEDIA_TYPE}",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        "connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


OVERLOADED = response(
    HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once; try again", "retry-after: 1"
)


class Workload:
    """Bounds how many changes are worked on at once: fewer from second to second while some are late, then slowly more."""

    def __init__(self, max_changes: int) -> None:
        self._max = max_changes
        self._limit: float = max_changes
        self._under_way = 0
        self._late_at = self._shrunk_at = self._grown_at = 0.0

    def is_full(self, more: int = 0) -> bool:
        """Whether there is no room after this number of others."""
        return self._under_way + more >= self._limit

    def begin(self) -> bool:
        """Whether there is room for a change, which is under way until `end`."""
        if self.is_full():
            return False
        self._under_way += 1
        return True

    def end(self, started_at: float, now: float) -> None:
        """The change has its response, or its client has left."""
        self._under_way -= 1
        if now - started_at > LATE_SECONDS:
            self._late_at = now
            if now - self._shrunk_at >= SHRINK_SECONDS:
                self._limit = max(SHRINK_FACTOR * self._limit, min(MIN_CHANGES, self._max))
                self._shrunk_at = now
        elif now - self._late_at > LATE_SECONDS:
            elapsed = now - max(self._grown_at, self._late_at)
            self._limit = min(self._limit + GROWTH_PER_SECOND * elapsed, self._max)
            self._grown_at = now


class Admission:
    """The connections of one process that are within its limit."""

    def __init__(
        self, max_connections: int, listening: socket.socket, spare: int = SPARE_CONNECTIONS
    ) -> None:
        listening.setblocking(False)
        self._spare = spare
        self.max_open = max_connections + spare
        self.changes = Workload(max_connections)
        self._max_served = max_connections
        self._listening = listening
        self._served: set[asyncio.Protocol] = set()
        self._opening: set[asyncio.Task[Any]] = set()

    def admit(self, connection: asyncio.Protocol) -> bool:
        """Whether there is room for it; it has its place until `leave`."""
        if len(self._served) >= self._max_served:
            return False
        self._served.add(connection)
        return True

    def leave(self, connection: asyncio.Protocol) -> None:
        self._served.discard(connection)

    def accept_waiting(self, protocol: Callable[[], asyncio.Protocol], open_now: int) -> None:
        """Accept connections that wait in the kernel, and refuse those for which there is no room.

        Half of the spare ones stay for those that the event loop itself accepts.
        """
        max_open = self._max_served + self._spare // 2
        while open_now + len(self._opening) < max_open:
            try:
                accepted, _ = self._listening.accept()
            except OSError:  # none waits, or the process has too many files open or stops
                return
            accepted.setblocking(False)
            if not self._is_refused(accepted):
                loop = asyncio.get_running_loop()
                self._open(loop.connect_accepted_socket(protocol, accepted))

    def _is_refused(self, accepted: socket.socket) -> bool:
        opening = len(self._opening)
        if len(self._served) + opening >= self._max_served:
            return _refuse(accepted)
        return self.changes.is_full(opening) and _refuse(accepted, spared=SAFE_METHODS)

    def _open(self, connecting: Coroutine[Any, Any, Any]) -> None:
        opening = asyncio.create_task(connecting)
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)


def _refuse(accepted: socket.socket, spared: tuple[bytes, ...] = (HEALTH,)) -> bool:
    """Respond and close, if the whole request has arrived: else closing would make the client lose the response.

    Requests that begin with one of `spared` are served.
    """
    try:
        request = accepted.recv(MAX_REFUSED_BYTES, socket.MSG_PEEK)
        if request and (request.startswith(spared) or not _is_whole(request)):
            return False
        accepted.recv(MAX_REFUSED_BYTES)
        accepted.send(OVERLOADED)
    except BlockingIOError:  # nothing has arrived
        return False
    except OSError:  # the client has left
        pass
    accepted.close()
    return True


def _is_whole(request: bytes) -> bool:
    head, end, body = request.partition(_HEAD_END)
    length = _LENGTH.search(head + _HEAD_END)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)


async def answer_overloaded(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An ASGI application that answers 503."""
    head, _, body = OVERLOADED.partition(_HEAD_END)
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    headers = [(name, value) for name, _, value in lines]
    status = HTTPStatus.SERVICE_UNAVAILABLE
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
