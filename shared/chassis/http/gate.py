"""The answer to requests before the service has opened: its tables may be those of another release."""

from collections.abc import Callable

from litestar.types import ASGIApp, Receive, Scope, Send

from shared.chassis.messages.rejection import Rejected

ALWAYS_OPEN = ("/health", "/rebuild", "/schema", "/contracts")
"""The beginnings of paths that need no tables; the index, `/`, needs none either."""


def needs_tables(path: str) -> bool:
    return path != "/" and not path.startswith(ALWAYS_OPEN)


class OpenGate:
    """Middleware that refuses requests before the service has opened."""

    def __init__(self, app: ASGIApp, is_open: Callable[[], bool]) -> None:
        self._app = app
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Rejected."""
        if not self._is_open() and needs_tables(scope["path"]):
            raise Rejected("rebuilding", "the service rebuilds its tables after an upgrade; retry")
        await self._app(scope, receive, send)
