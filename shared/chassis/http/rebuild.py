"""Rebuilds of a service's derived tables, for operators; and the answer to other requests before the first has ended."""

from collections.abc import Callable

import msgspec
import structlog
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp, Receive, Scope, Send

from shared.chassis.engine.rebuilder import Rebuild, Rebuilder
from shared.chassis.http.auth import operators_only
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.problems import responses
from shared.chassis.http.request_body import ServiceRequest
from shared.chassis.messages.rejection import Rejected

PATH = "/rebuild"
ALWAYS_OPEN = ("/health", PATH, "/schema", "/contracts")

log = structlog.get_logger()


class Rebuilds(msgspec.Struct, frozen=True, kw_only=True):
    """The rebuild under way, and the last one that ended since the start of the service."""

    current: Rebuild | None
    last: Rebuild | None


FromRebuilder = NamedDependency[Rebuilder]


class RebuildController(Controller):
    """Tables that are a fold of stored events, folded again while the service is in use."""

    path = PATH
    guards = (operators_only,)
    tags = ("rebuild",)

    @post("/", status_code=202, opt=WITHOUT_KEY, responses=responses(401, 403, 409))
    async def start_rebuild(self, request: ServiceRequest, rebuilder: FromRebuilder) -> Rebuilds:
        """Rebuild the derived tables. They are replaced even if they differ from what their events lead to."""
        rebuilder.start()
        log.info("rebuild.requested", by=request.user.user_id)
        return _rebuilds(rebuilder)

    @get("/", sync_to_thread=False, responses=responses(401, 403))
    def show_rebuilds(self, rebuilder: FromRebuilder) -> Rebuilds:
        """How far the rebuild is, and what the last one found."""
        return _rebuilds(rebuilder)


class OpenGate:
    """Middleware that refuses requests before the service has opened: its tables may be those of another release."""

    def __init__(self, app: ASGIApp, is_open: Callable[[], bool]) -> None:
        self._app = app
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Rejected."""
        if not self._is_open() and not scope["path"].startswith(ALWAYS_OPEN):
            raise Rejected("rebuilding", "the service rebuilds its tables after an upgrade; retry")
        await self._app(scope, receive, send)


def _rebuilds(rebuilder: Rebuilder) -> Rebuilds:
    return Rebuilds(current=rebuilder.current, last=rebuilder.last)
