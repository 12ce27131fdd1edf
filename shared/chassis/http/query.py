"""Query parameters that a route does not have: a client that misspells one must not get an answer to another question."""

from collections.abc import Iterator, Mapping, Sequence
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
    """Middleware that refuses unknown and repeated query parameters, on every route of the OpenAPI document."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._names: Mapping[str, bool] | None = None
        """Of the parameters, and whether each is a text: Litestar makes one object for each handler."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises BadRequest."""
        if scope["query_string"]:
            handler = scope["route_handler"]
            if isinstance(handler, HTTPRouteHandler) and handler.resolve_include_in_schema():
                if self._names is None:
                    self._names = dict(_names_of(handler))
                _check(ASGIConnection(scope).query_params.dict(), self._names)
        await self._app(scope, receive, send)


def _check(sent: Mapping[str, Sequence[str]], names: Mapping[str, bool]) -> None:
    errors = [
        FieldError(field=name[:MAX_NAME], message=objection)
        for name, values in sent.items()
        if (objection := _objection(name, values, names))
    ]
    if errors:
        raise BadRequest(*errors[:MAX_ERRORS])


def _objection(name: str, values: Sequence[str], names: Mapping[str, bool]) -> str | None:
    if name in names:
        if len(values) > 1:
            return "given more than once"
        is_absence = values[0].lower() == "null" and not names[name]  # Litestar would read None
        return "expected a value, got null" if is_absence else None
    if not names:
        return "unknown: the route has no parameters"
    lower = {own.lower(): own for own in names}
    nearest = get_close_matches(name.lower(), lower, n=1)
    if nearest:
        return f"unknown; did you mean {lower[nearest[0]]}?"
    return f"unknown; the route has {', '.join(sorted(names))}"


def _names_of(handler: HTTPRouteHandler) -> Iterator[tuple[str, bool]]:
    """The query parameters of the handler and of the layers above it, as clients spell them."""
    fields = {**handler.resolve_layered_parameters(), **handler.parsed_fn_signature.parameters}
    dependencies = handler.resolve_dependencies()
    for name, field in fields.items():
        definition = field.kwarg_definition
        if (
            isinstance(definition, ParameterKwarg)
            and definition.param_type == ParamType.QUERY
            and name not in dependencies
        ):
            types = {field.annotation, *(inner.annotation for inner in field.inner_types)}
            yield definition.name or name, str in types
