"""Query parameters that a route does not have: a client that misspells one must not get an answer to another question."""

from collections.abc import Iterable
from difflib import get_close_matches

from litestar.connection import ASGIConnection
from litestar.enums import ParamType
from litestar.handlers import HTTPRouteHandler
from litestar.params import ParameterKwarg
from litestar.types import ASGIApp, Receive, Scope, Send

from shared.chassis.http.problems import BadRequest, FieldError

MAX_NAME = 64
MAX_ERRORS = 10


class QueryCheck:
    """Middleware that refuses unknown query parameters, on every route of the OpenAPI document."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._names: frozenset[str] | None = None
        """Of the parameters: Litestar makes one object for each handler."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises BadRequest."""
        if scope["query_string"]:
            handler = scope["route_handler"]
            if isinstance(handler, HTTPRouteHandler) and handler.resolve_include_in_schema():
                if self._names is None:
                    self._names = _names_of(handler)
                _check(ASGIConnection(scope).query_params, self._names)
        await self._app(scope, receive, send)


def _check(sent: Iterable[str], names: frozenset[str]) -> None:
    errors = [
        FieldError(field=name[:MAX_NAME], message=_objection(name, names))
        for name in sent
        if name not in names
    ]
    if errors:
        raise BadRequest(*errors[:MAX_ERRORS])


def _names_of(handler: HTTPRouteHandler) -> frozenset[str]:
    """The query parameters of the handler and of the layers above it, as clients spell them."""
    own = handler.parsed_fn_signature.parameters
    fields = {**handler.resolve_layered_parameters(), **own}
    dependencies = handler.resolve_dependencies()
    return frozenset(
        (field.kwarg_definition.name or name)
        for name, field in fields.items()
        if isinstance(field.kwarg_definition, ParameterKwarg)
        and field.kwarg_definition.param_type == ParamType.QUERY
        and name not in dependencies
    )


def _objection(name: str, names: frozenset[str]) -> str:
    if not names:
        return "unknown: the route has no parameters"
    lower = {own.lower(): own for own in names}
    nearest = get_close_matches(name.lower(), lower, n=1)
    if nearest:
        return f"unknown; did you mean {lower[nearest[0]]}?"
    return f"unknown; the route has {', '.join(sorted(names))}"
