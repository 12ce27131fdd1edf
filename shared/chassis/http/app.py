"""A service's ASGI application: what every HTTP API of the shop shares."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NoReturn

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.types import ControllerRouterHandler, LifespanHook
from sqlalchemy.exc import SQLAlchemyError

from shared.chassis.errors import REFUSED, FatalError
from shared.chassis.http import health, index, openapi
from shared.chassis.http.auth import Authentication, PublicKeys
from shared.chassis.http.gate import OpenGate
from shared.chassis.http.health import Backlog, Health
from shared.chassis.http.links import LinkKeys
from shared.chassis.http.openapi import NO_DESCRIPTION, ApiDescription
from shared.chassis.http.problems import ProblemDetails
from shared.chassis.http.query import QueryCheck
from shared.chassis.http.representation import represent
from shared.chassis.http.request_body import ServiceRequest
from shared.chassis.settings import ChassisSettings, listed

MAX_BODY_BYTES = 1024 * 1024

EXPOSED_HEADERS = ["Consistency-Token", "ETag", "Idempotent-Replayed", "Location", "Retry-After"]
"""What a page of another origin may read of a response."""


def build_app(
    title: str,
    routes: Sequence[ControllerRouterHandler],
    *,
    settings: ChassisSettings,
    keys: PublicKeys,
    links: LinkKeys | None = None,
    waiting_for: Callable[[], list[str]],
    warnings: Callable[[], list[str]] = list,
    backlog: Callable[[], Awaitable[Backlog]],
    dependencies: Mapping[str, object] | None = None,
    api: ApiDescription = NO_DESCRIPTION,
    is_open: Callable[[], bool] | None = None,
    on_startup: Sequence[Callable[[], Awaitable[None]]],
    on_shutdown: LifespanHook,
    on_stopping: Callable[[], None] | None = None,
) -> Litestar:
    """The application, with health routes, OpenAPI at `/schema` and problem details.

    A handler gets one of the `dependencies` by a parameter of its name, `service: NamedDependency[Service]`. More than
    one costs 50 µs per request: Litestar starts a task for each.

    Until `is_open`, only health, rebuilds and the OpenAPI document are answered; without it there is no such time.

    `on_stopping` is called as soon as the process is asked to stop: it ends responses that never end by themselves, and
    `on_shutdown` runs after the last response.
    """
    process_health = Health(waiting_for, partial(_warnings, keys, links, warnings), backlog)
    dependencies = {
        "health": process_health,
        "index": index.index_of(title, api.description),
        **(dependencies or {}),
    }
    authentication = DefineMiddleware(Authentication, keys=keys)
    gate = [DefineMiddleware(OpenGate, is_open=is_open)] if is_open else []
    app = Litestar(
        route_handlers=[index.show_index, health.router(), *routes],
        request_class=ServiceRequest,
        dependencies={name: provide(value) for name, value in dependencies.items()},
        middleware=[*gate, authentication, QueryCheck],
        cors_config=_cors(settings.cors_origins),
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=openapi.config(title, api),
        plugins=[ProblemDetails()],
        on_startup=[_or_exit(title, hook) for hook in on_startup],
        on_shutdown=[on_shutdown],
        state=State({"on_stopping": on_stopping}),
    )
    app.asgi_handler = represent(app.asgi_handler)
    return app


async def _warnings(
    keys: PublicKeys, links: LinkKeys | None, warnings: Callable[[], list[str]]
) -> list[str]:
    of_links = await links.warnings() if links else []
    return [*await keys.warnings(), *of_links, *warnings()]


def provide(value: object) -> Provide:
    """The same object for every request."""
    return Provide(lambda: value, use_cache=True, sync_to_thread=False)


def _or_exit(title: str, start: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """A start hook that ends the process with one sentence, without a traceback, if the database cannot be opened."""

    async def start_or_exit() -> None:
        try:
            await start()
        except FatalError as error:
            _exit(f"{title}: {error}", error.exit_code)
        except (SQLAlchemyError, OSError) as error:
            reason = getattr(error, "orig", None) or error
            _exit(f"{title}: the database cannot be opened: {reason}", REFUSED)

    return start_or_exit


def _exit(sentence: str, code: int) -> NoReturn:
    print(sentence, file=sys.stderr)  # noqa: T201 - the operator reads it
    sys.stderr.flush()
    os._exit(code)


def _cors(origins: str) -> CORSConfig | None:
    allowed = listed(origins)
    if not allowed:
        return None
    return CORSConfig(allow_origins=allowed, expose_headers=EXPOSED_HEADERS)
