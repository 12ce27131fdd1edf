"""Limits per client address: searches in a period, and streams at a time."""

from typing import Any

from litestar import Request
from litestar.types import ASGIApp, Middleware, Receive, Scope, Send

from shared.chassis.http.client_address import client_address
from shared.chassis.http.rate_limits import Limit, Limiter


def count_search(limits: Limiter, request: Request[Any, Any, Any], words: str) -> None:
    """Count the request if it searches. Raises Rejected."""
    if words.strip():
        limits.take((Limit.SEARCHES_PER_ADDRESS, client_address(request)))


def limiting_streams(limits: Limiter) -> Middleware:
    """Rejects a stream if its address has as many open as it may."""

    def middleware(app: ASGIApp) -> ASGIApp:
        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            address = client_address(Request(scope))
            with limits.slot(Limit.STREAMS_PER_ADDRESS, address):
                await app(scope, receive, send)

        return respond

    return middleware
