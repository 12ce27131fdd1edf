"""Rebuilds of a service's derived tables, for operators."""

import msgspec
import structlog
from litestar import Controller, get, post
from litestar.di import NamedDependency

from shared.chassis.engine.rebuilder import Rebuild, Rebuilder
from shared.chassis.http.auth import operators_only
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.problems import responses
from shared.chassis.http.request_body import ServiceRequest

PATH = "/rebuild"

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

    @post("/", status_code=202, opt=WITHOUT_KEY, responses=responses("rebuild-running"))
    async def start_rebuild(self, request: ServiceRequest, rebuilder: FromRebuilder) -> Rebuilds:
        """Rebuild the derived tables. They are replaced even if they differ from what their events lead to."""
        rebuilder.start()
        log.info("rebuild.requested", by=request.user.user_id)
        return _rebuilds(rebuilder)

    @get("/", sync_to_thread=False)
    def show_rebuilds(self, rebuilder: FromRebuilder) -> Rebuilds:
        """How far the rebuild is, and what the last one found."""
        return _rebuilds(rebuilder)


def _rebuilds(rebuilder: Rebuilder) -> Rebuilds:
    return Rebuilds(current=rebuilder.current, last=rebuilder.last)
