"""What the responses of all GET routes share: HEAD, compression and entity tags; and the name of every route at `/api`."""

import zlib
from collections.abc import Mapping
from hashlib import blake2b
from http import HTTPStatus

from litestar.datastructures import CacheControlHeader
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

ALIAS = "/api/"
MIN_COMPRESSED_BYTES = 1024
COMPRESSION_LEVEL = 1
"""The fastest; the others make JSON little smaller."""
GZIP = 31
"""zlib's number for the format."""
COMPRESSIBLE = (b"application/", b"text/css", b"text/javascript")
"""Not HTML, which may contain a link with a token. Tokens in JSON are answers to POST, which are never compressed: the
size of a compressed response would reveal a token to those who can add a text of their own to it (BREACH)."""
PUBLIC_DATA = CacheControlHeader(no_cache=True)
"""Of routes whose response is the same for every caller: it may be kept, and its entity tag is compared at each use."""

Headers = Mapping[bytes, bytes]


def represent(app: ASGIApp) -> ASGIApp:
    """The application, whose GET routes have these properties."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        if scope["path"].startswith(ALIAS):
            scope["path"] = scope["path"][len(ALIAS) - 1 :]
        method = scope["method"]
        if method == "GET":
            await app(scope, receive, _Representation(scope, send).send)
        elif method == "HEAD":
            scope = scope.copy()  # the server must still see HEAD
            scope["method"] = "GET"
            await app(scope, receive, _Representation(scope, _Head(send).send).send)
        else:
            await app(scope, receive, send)

    return respond


class _Head:
    """Sends a response without its body. A stream ends at once: after the last message the server reports a disconnect."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_complete = False

    async def send(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)
        elif not self._is_complete:
            self._is_complete = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _Representation:
    """Sends a response that comes in one piece compressed and with an entity tag, where both make sense."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._start: HTTPResponseStartEvent | None = None
        """Not sent yet: it depends on the body."""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            if _is_compressible(headers) or _may_be_unchanged(headers, message["status"]):
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._start:
            start, self._start = self._start, None
            if not message["more_body"]:
                message["body"] = self._represent(start, message["body"])
            await self._send(start)
        await self._send(message)

    def _represent(self, start: HTTPResponseStartEvent, body: bytes) -> bytes:
        """The body to send; completes the head."""
        headers = dict(start["headers"])
        if _may_be_unchanged(headers, start["status"]):
            tag = headers.setdefault(b"etag", _weak_tag(body))
            if tag in self._requested(b"if-none-match"):
                start["status"] = HTTPStatus.NOT_MODIFIED
                headers.pop(b"content-type", None)
                body = b""
        if _is_compressible(headers) and body:
            headers[b"vary"] = b", ".join(filter(None, (headers.get(b"vary"), b"Accept-Encoding")))
            if b"gzip" in self._requested(b"accept-encoding"):
                headers[b"content-encoding"] = b"gzip"
                body = zlib.compress(body, COMPRESSION_LEVEL, GZIP)
        headers[b"content-length"] = str(len(body)).encode()
        start["headers"] = list(headers.items())
        return body

    def _requested(self, name: bytes) -> bytes:
        return next((value for key, value in self._scope["headers"] if key == name), b"")


def _may_be_unchanged(headers: Headers, status: int) -> bool:
    """Whether the response has an entity tag of its handler, or gets one of its bytes."""
    is_tagged = b"etag" in headers or b"no-store" not in headers.get(b"cache-control", b"no-store")
    return status == HTTPStatus.OK and is_tagged and b"content-length" in headers


def _weak_tag(body: bytes) -> bytes:
    return b'W/"%s"' % blake2b(body, digest_size=9).hexdigest().encode()


def _is_compressible(headers: Headers) -> bool:
    """A strong entity tag is that of the bytes as they are."""
    return (
        int(headers.get(b"content-length", 0)) >= MIN_COMPRESSED_BYTES
        and headers.get(b"content-type", b"").startswith(COMPRESSIBLE)
        and not headers.get(b"etag", b"W/").startswith(b'"')
        and b"content-encoding" not in headers
    )
