"""What the routes' OpenAPI documents share: who may call a route, its errors, idempotency keys, closed bodies."""

from collections.abc import Iterator
from dataclasses import dataclass

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import (
    Components,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.routes import HTTPRoute

from shared import VERSION
from shared.chassis.http import swagger
from shared.chassis.http.auth import admin_only, operators_only, signed_in_only
from shared.chassis.http.problems import responses
from shared.chassis.http.swagger import LocalSwagger
from shared.chassis.storage.idempotency import MAX_KEY_LENGTH, MIN_GUEST_KEY_LENGTH, RETENTION_HOURS

WITHOUT_KEY = {"takes_key": False}
"""The `opt` of a POST that ignores `Idempotency-Key`."""

_BEARER = {"bearer": list[str]()}
_TOKEN = SecurityScheme(
    type="http",
    scheme="bearer",
    bearer_format="JWT",
    description="the `accessToken` that the order service's `POST /auth/login` answers",
)
_KEY = Parameter(
    name="Idempotency-Key",
    param_in="header",
    required=False,
    description=f"the same key and body get the same answer again, for {RETENTION_HOURS} hours; "
    f"without a token it needs at least {MIN_GUEST_KEY_LENGTH} characters that nobody can guess, such as a UUID",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_KEY_LENGTH),
)


@dataclass
class _KeyedOperation(Operation):
    """An operation that accepts an `Idempotency-Key`."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), _KEY]


@dataclass
class _KeyedOperationWithOptionalBody(_KeyedOperation):
    """Litestar documents every body as required."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.request_body, RequestBody):
            self.request_body.required = False


def config(title: str) -> OpenAPIConfig:
    """How a process's document is made, and its page at `/schema`."""
    return OpenAPIConfig(
        title=title,
        version=VERSION,
        use_handler_docstrings=True,
        render_plugins=[LocalSwagger()],
        openapi_router=Router(
            "/schema",
            route_handlers=[swagger.files()],
            before_request=_close_bodies,
            response_headers={"Content-Security-Policy": swagger.PAGE_POLICY},
            include_in_schema=False,
        ),
        components=Components(security_schemes={"bearer": _TOKEN}),
    )


def describe(app: Litestar) -> None:
    """Add to each route what follows from its guards and method, before the document is generated."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                _complete(handler)


def _complete(handler: HTTPRouteHandler) -> None:
    guards = {getattr(guard, "func", guard) for guard in handler.resolve_guards()}
    errors = responses(401, 503)  # a bad token, or a database that cannot be read
    if {admin_only, operators_only} & guards:
        errors |= responses(403)
    if "POST" in handler.http_methods and handler.opt.get("takes_key", True):
        errors |= responses(400, 409, 422)
        body = handler.parsed_data_field
        is_optional = body is not None and body.has_default
        handler.operation_class = (
            _KeyedOperationWithOptionalBody if is_optional else _KeyedOperation
        )
    handler.responses = {**errors, **(handler.responses or {})}
    is_guarded = bool({admin_only, operators_only, signed_in_only} & guards)
    handler.security = [_BEARER] if is_guarded else [{}, _BEARER]


async def _close_bodies(request: Request[object, object, State]) -> None:
    """Add to the schema of each request body that it permits no other fields; runs before the document is rendered.

    Litestar leaves `forbid_unknown_fields` out, and offers no hook between generating a document and serving it.
    """
    openapi = request.app.openapi_schema
    schemas = openapi.components.schemas or {}
    document = openapi.to_schema()
    open_names = [
        name
        for path in document["paths"].values()
        for operation in path.values()
        for name in _references(operation.get("requestBody"))
    ]
    while open_names:
        schema = schemas[name := open_names.pop()]
        if schema.additional_properties is None:
            schema.additional_properties = False
            open_names += _references(document["components"]["schemas"][name])


def _references(node: object) -> Iterator[str]:
    """The names of the schemas that this part of a document refers to."""
    match node:
        case {"$ref": str(reference)}:
            yield reference.rpartition("/")[2]
        case dict():
            for value in node.values():
                yield from _references(value)
        case list():
            for value in node:
                yield from _references(value)
        case _:
            pass
