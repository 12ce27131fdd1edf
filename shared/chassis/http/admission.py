"""Which connections a process serves: as many as the setting allows; further ones are answered 503 without reading them.

Libuv accepts one connection per iteration of the event loop. Under load the others would wait in the kernel's queue
until their clients give up, where nobody can refuse them. So each connection that arrives accepts those behind it.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from shared.chassis.http.problems import MEDIA_TYPE, document, slug_of

SPARE_CONNECTIONS = 256
"""This many connections above the limit may be open until they have read their 503; further ones are closed with it.

With the default limit all of them fit into the 1,024 files that a process may usually open.
"""
HEALTH = b"GET /health/"
"""Served on any connection: an overloaded process must not be taken for a dead one."""
MAX_REFUSED_BYTES = 64 * 1024
"""A longer request is refused by the event loop, which waits until the client has read the response."""

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


class Admission:
    """The connections of one process that are within its limit."""

    def __init__(self, max_connections: int, listening: socket.socket) -> None:
        listening.setblocking(False)
        self.max_open = max_connections + SPARE_CONNECTIONS
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
        max_open = self._max_served + SPARE_CONNECTIONS // 2
        while open_now + len(self._opening) < max_open:
            try:
                accepted, _ = self._listening.accept()
            except OSError:  # none waits, or the process has too many files open or stops
                return
            accepted.setblocking(False)
            is_full = len(self._served) + len(self._opening) >= self._max_served
            if not (is_full and _refuse(accepted)):
                loop = asyncio.get_running_loop()
                self._open(loop.connect_accepted_socket(protocol, accepted))

    def _open(self, connecting: Coroutine[Any, Any, Any]) -> None:
        opening = asyncio.create_task(connecting)
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)


def _refuse(accepted: socket.socket) -> bool:
    """Respond and close, if the whole request has arrived: else closing would make the client lose the response."""
    try:
        request = accepted.recv(MAX_REFUSED_BYTES, socket.MSG_PEEK)
        if request and (request.startswith(HEALTH) or not _is_whole(request)):
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
