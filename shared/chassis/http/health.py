"""`/health/live` and `/health/ready`, as every process answers them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from shared import VERSION
from shared.chassis.messages import clock

_STARTED_AT = clock.now()


class Live(Struct, frozen=True, kw_only=True, rename="camel"):
    """A process that answers."""

    status: str
    waiting_for: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """What an operator should look at, though the service works."""
    version: str = VERSION
    started_at: datetime = _STARTED_AT


class Ready(Live, frozen=True, kw_only=True, rename="camel"):
    """Whether the service does its work, and if not, what it waits for."""

    lag: int | None
    """The number of events that it has not handled yet; null while it does not consume."""
    dead_letters: int | None
    """The number of events that it could not handle; null while its database cannot be read."""


class Backlog(NamedTuple):
    """As in Ready."""

    lag: int | None
    dead_letters: int | None


class Health:
    """Where the readiness of a process comes from."""

    def __init__(
        self,
        waiting_for: Callable[[], Sequence[str]],
        warnings: Callable[[], Awaitable[Sequence[str]]],
        backlog: Callable[[], Awaitable[Backlog]],
    ) -> None:
        self.waiting_for = waiting_for
        """What keeps the process from its work; empty when it is ready."""
        self.warnings = warnings
        self.backlog = backlog


@get("/live", sync_to_thread=False)
def live() -> Live:
    """Answers as long as the process runs."""
    return Live(status="live")


@get("/ready", responses={503: ResponseSpec(Ready, description="Waits for something")})
async def ready(health: NamedDependency[Health]) -> Response[Ready]:
    """200 when the service does its work; 503 with what it waits for."""
    warnings = await health.warnings()
    lag, dead_letters = await health.backlog()
    reasons = health.waiting_for()
    answer = Ready(
        status="waiting" if reasons else "ready",
        waiting_for=reasons,
        warnings=warnings,
        lag=lag,
        dead_letters=dead_letters,
    )
    return Response(answer, status_code=503 if reasons else 200)


def router() -> Router:
    """The routes; they need the dependency `health`."""
    return Router("/health", route_handlers=[live, ready], tags=["health"])
