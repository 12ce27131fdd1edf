"""`/health/live` and `/health/ready`, as every process answers them."""

from collections.abc import Awaitable, Callable, Sequence

from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct


class Ready(Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether the service does its work, and if not, what it waits for."""

    status: str
    waiting_for: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """What an operator should look at, though the service works."""


class Health:
    """Where the readiness of a process comes from."""

    def __init__(
        self,
        waiting_for: Callable[[], Sequence[str]],
        warnings: Callable[[], Awaitable[Sequence[str]]],
    ) -> None:
        self.waiting_for = waiting_for
        """What keeps the process from its work; empty when it is ready."""
        self.warnings = warnings


@get("/live", sync_to_thread=False)
def live() -> Ready:
    """Answers as long as the process runs."""
    return Ready(status="live")


@get("/ready", responses={503: ResponseSpec(Ready, description="Waits for something")})
async def ready(health: NamedDependency[Health]) -> Response[Ready]:
    """200 when the service does its work; 503 with what it waits for."""
    warnings = await health.warnings()
    if reasons := health.waiting_for():
        waiting = Ready(status="waiting", waiting_for=reasons, warnings=warnings)
        return Response(waiting, status_code=503)
    return Response(Ready(status="ready", warnings=warnings))


def router() -> Router:
    """The routes; they need the dependency `health`."""
    return Router("/health", route_handlers=[live, ready], tags=["health"])
