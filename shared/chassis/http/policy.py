"""Checks before routing: which `Host` a request may name and which `Origin` may change data; and default headers.

Browsers send requests on behalf of pages of any origin. A foreign page may send simple POSTs; with DNS rebinding, where
a name of the attacker resolves to this machine, it may also read. Then `Host` and `Origin` are both that name.
"""

from functools import partial
from ipaddress import ip_address
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from litestar.config.cors import CORSConfig
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from shared.chassis.http.problems import MEDIA_TYPE, PROBLEM_TYPES, document
from shared.chassis.settings import ChassisSettings, listed

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_QUOTED = 100
NO_AUTHORITY = ("", None)

DEFAULT_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
"""Of every response whose route sets no other value."""


class HttpPolicy(NamedTuple):
    """The names that requests may be addressed to, and the origins that may change data."""

    allowed_hosts: frozenset[str] | None
    """Besides localhost and IP addresses; None: any name."""
    cors: CORSConfig

    @classmethod
    def of(cls, settings: ChassisSettings, address: str) -> Self:
        """The policy of a process that listens on `address`.

        On a loopback address only names of the loopback and those in QUADRILLE_ALLOWED_HOSTS are accepted;
        on others every name, unless that setting lists some.
        """
        named = {name.lower() for name in listed(settings.allowed_hosts)}
        is_limited = named or ip_address(address).is_loopback
        hosts = frozenset({*named, settings.host.lower()}) if is_limited else None
        return cls(hosts, CORSConfig(allow_origins=listed(settings.cors_origins)))

    def protect(self, app: ASGIApp) -> ASGIApp:
        """The application behind this policy."""

        async def protected(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            send_with_headers = partial(_send_with_default_headers, send)
            if violation := self._violation(scope):
                await send_problem(send_with_headers, *violation)
            else:
                await app(scope, receive, send_with_headers)

        return protected

    def _violation(self, scope: HTTPScope) -> tuple[str, str] | None:
        """Code and detail of the problem with a request that is not passed on."""
        hosts = _values(scope, b"host")
        for host in hosts:
            if not self._is_allowed_host(host):
                detail = f"no service has the name {_quoted(host)}: see QUADRILLE_ALLOWED_HOSTS"
                return "misdirected-request", detail
        for origin in _values(scope, b"origin") if scope["method"] not in SAFE_METHODS else []:
            if not (self.cors.is_origin_allowed(origin) or _is_own(origin, hosts)):
                detail = f"pages of {_quoted(origin)} may not do this: see QUADRILLE_CORS_ORIGINS"
                return "foreign-origin", detail
        return None

    def _is_allowed_host(self, host: str) -> bool:
        """IP addresses always are: DNS cannot make a browser send one as `Host`."""
        if self.allowed_hosts is None:
            return True
        name, _ = _authority(host, None)
        return (
            name in self.allowed_hosts
            or name == "localhost"
            or name.endswith(".localhost")
            or _is_address(name)
        )


def _is_own(origin: str, hosts: list[str]) -> bool:
    """Whether the origin's host and port are those of the request."""
    scheme, _, authority = origin.partition("://")
    default_port = DEFAULT_PORTS.get(scheme)
    own = _authority(authority, default_port)
    return own != NO_AUTHORITY and own in [_authority(host, default_port) for host in hosts]


def _authority(text: str, default_port: int | None) -> tuple[str, int | None]:
    """Host and port; NO_AUTHORITY if they are malformed."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return NO_AUTHORITY
    return parts.hostname or "", port or default_port


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _values(scope: HTTPScope, header: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == header]


def _quoted(text: str) -> str:
    return ascii(text[:MAX_QUOTED])


async def _send_with_default_headers(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = list(message["headers"])
        names = {name.lower() for name, _ in headers}
        missing = [pair for pair in DEFAULT_HEADERS.items() if pair[0] not in names]
        message["headers"] = [*headers, *missing]
    await send(message)


async def send_problem(send: Send, code: str, detail: str) -> None:
    """A response without a route."""
    problem = PROBLEM_TYPES[code]
    body = document(problem.status, code, detail)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    if problem.retry_after_seconds:
        headers.append((b"retry-after", str(problem.retry_after_seconds).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
