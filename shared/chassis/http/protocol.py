"""HTTP/1.1 with limits: on the size of a request's head, on the time that its head and body take, and on connections.

Uvicorn's protocol on httptools limits none of them: a head may grow until the memory is full, and a connection that
sends nothing stays open. The application limits the body's size.
"""

import asyncio
import select
import socket
from collections import deque
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shared.chassis.http.admission import (
    HEALTH,
    OVERLOADED,
    SAFE_METHODS,
    Admission,
    answer_overloaded,
    response,
)
from shared.chassis.settings import ChassisSettings

CLOSED_BY_CLIENT = getattr(select, "POLLRDHUP", 0)
"""Only Linux has it; elsewhere a closed connection is noticed when the event loop reads from it."""
MAX_HEAD_BYTES = 64 * 1024
LINGER_SECONDS = 1
"""A refused client has this long to read its response: closing before all that it sends has arrived would discard that."""


def bounded_http(settings: ChassisSettings, listening: socket.socket) -> type[asyncio.Protocol]:
    """The protocol with the settings' limits, for `uvicorn.Config(http=...)`, which calls it as a class."""
    admission = Admission(settings.max_connections, listening)
    return cast("type[asyncio.Protocol]", partial(_BoundedHttp, settings, admission))


IS_DISCONNECTED = "is_disconnected"
"""In the request's state: a function that returns whether the connection is closed."""


class _BoundedHttp(HttpToolsProtocol):
    def __init__(
        self,
        settings: ChassisSettings,
        admission: Admission,
        *args: Any,  # noqa: ANN401 - uvicorn's
        **kwargs: Any,  # noqa: ANN401 - uvicorn's
    ) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings
        self._admission = admission
        self._another = partial(_BoundedHttp, settings, admission, *args, **kwargs)
        self._served_app = self.app
        self._started_at: deque[float | None] = deque()
        """Of each request without a response: when its work began, for those that change something."""
        self._is_admitted = False
        self._is_refused = False
        self._head_bytes = 0
        """Size of the current message's URL and headers, trailers included."""
        self._unparsed_bytes = 0
        """Received since the parser last completed an element: it grows with a header line that does not end."""
        self._deadline: asyncio.TimerHandle | None = None
        self._stage: Literal["between", "head", "body"] = "between"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        admission = self._admission
        if len(self.connections) > admission.max_open:
            transport.write(OVERLOADED)
            transport.close()
            return
        self._is_admitted = admission.admit(self)
        self._expect_head()
        admission.accept_waiting(self._another, len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        self._admission.leave(self)
        while self._started_at:
            self._end_work()
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._is_refused:
            return
        if not self._is_admitted and not data.startswith(HEALTH):
            self._refuse_overload()
            return
        self._expect_head()
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._stage = "head"
        self._head_bytes = self._unparsed_bytes = 0
        self._expect_head()
        super().on_message_begin()
        self.scope["state"][IS_DISCONNECTED] = self._is_disconnected

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stage = "body"
        self._unparsed_bytes = 0
        self._expect_within(self._settings.request_body_timeout_seconds)
        self.app = self._served_app if self._begin_work() else answer_overloaded
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stage = "between"
        self._unparsed_bytes = 0
        self._expect_nothing()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._started_at:
            self._end_work()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text is always the same
        """Called when the parser has stopped, because of the input or because a callback raised."""
        is_too_large = self._head_bytes > MAX_HEAD_BYTES
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_too_large else HTTPStatus.BAD_REQUEST
        )

    def _is_disconnected(self) -> bool:
        """Asks the kernel too: under load the event loop has not yet read that the client has closed."""
        if self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), CLOSED_BY_CLIENT)
        return bool(poll.poll(0))

    def _begin_work(self) -> bool:
        """Whether there is room for the request."""
        is_safe = self.parser.get_method() in SAFE_METHODS
        is_started = not is_safe and self._admission.changes.begin()
        self._started_at.append(self.loop.time() if is_started else None)
        return is_safe or is_started

    def _end_work(self) -> None:
        if (started_at := self._started_at.popleft()) is not None:
            self._admission.changes.end(started_at, self.loop.time())

    def _count(self, size: int) -> None:
        """Raises ValueError, which makes the parser stop."""
        self._unparsed_bytes = 0
        self._head_bytes += size + len(": \r\n")
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError

    def _expect_head(self) -> None:
        if self._deadline is None and self._stage != "body":
            self._expect_within(self._settings.request_head_timeout_seconds)

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(seconds, self._expire, seconds)

    def _expect_nothing(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self, seconds: float) -> None:
        if self.flow.read_paused:  # the application is late, not the client
            self._expect_within(seconds)
        elif self._stage == "between":
            self.transport.close()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse_overload(self) -> None:
        """Respond without reading the request, which costs a tenth of parsing and routing it."""
        self._is_refused = True
        self.transport.write(OVERLOADED)
        self.transport.write_eof()
        self._expect_within(LINGER_SECONDS)

    def _refuse(self, status: HTTPStatus) -> None:
        """Respond, unless a response to this or an earlier request has started, and close the connection."""
        self._expect_nothing()
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        is_free = cycle is None or cycle.response_complete
        is_of_this_message = self._stage == "body" and not self.cycle.response_started
        if (is_free or is_of_this_message) and not self.pipeline:
            self.transport.write(response(status, _REASONS[status]))
        self.transport.close()


_REASONS = {
    HTTPStatus.BAD_REQUEST: "this is not HTTP/1.1",
    HTTPStatus.REQUEST_TIMEOUT: "the request did not arrive in time",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        f"URL and headers may have {MAX_HEAD_BYTES} bytes together"
    ),
}
