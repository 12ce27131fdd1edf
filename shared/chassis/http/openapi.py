"""What each route's OpenAPI need not say itself: who may call it, and what any route may be asked and answer."""

from functools import partial
from typing import Any

from litestar import Litestar
from litestar._openapi.schema_generation.plugins.struct import StructSchemaPlugin
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
from litestar.typing import FieldDefinition

from shared import VERSION
from shared.chassis.http import swagger
from shared.chassis.http.auth import admin_only, signed_in_only
from shared.chassis.http.problems import responses
from shared.chassis.http.swagger import LocalSwagger
from shared.chassis.storage.idempotency import MAX_KEY_LENGTH, MIN_GUEST_KEY_LENGTH, RETENTION_HOURS

WITHOUT_KEY = {"takes_key": False}
"""The `opt` of a POST that heeds no `Idempotency-Key`."""

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


class StrictStructs(StructSchemaPlugin):
    """Says of the bodies that know no other fields that they do not."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Only those."""
        if not super().is_plugin_supported_field(field_definition):
            return False
        is_strict: bool = field_definition.type_.__struct_config__.forbid_unknown_fields
        return is_strict

    def to_openapi_schema(
        self,
        field_definition: FieldDefinition,
        schema_creator: Any,  # noqa: ANN401 - private to Litestar
    ) -> Schema:
        """As Litestar has it, and closed."""
        schema = super().to_openapi_schema(field_definition, schema_creator)
        schema.additional_properties = False
        return schema


def config(title: str) -> OpenAPIConfig:
    """How a process's document is made, and its page at `/schema`."""
    return OpenAPIConfig(
        title=title,
        version=VERSION,
        use_handler_docstrings=True,
        render_plugins=[LocalSwagger()],
        openapi_router=swagger.router(),
        components=Components(security_schemes={"bearer": _TOKEN}),
    )


def describe(app: Litestar) -> None:
    """Complete what the routes say of themselves, before the document is first asked for."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                _complete(handler)


def _complete(handler: HTTPRouteHandler) -> None:
    guards = [getattr(guard, "func", guard) for guard in handler.resolve_guards()]
    may_answer = responses(401, 503)  # a bad token, or a database that can not be read
    if admin_only in guards:
        may_answer |= responses(403)
    if _takes_key(handler):
        may_answer |= responses(400, 409, 422)
    handler.responses = {**may_answer, **(handler.responses or {})}
    is_guarded = admin_only in guards or signed_in_only in guards
    handler.security = [_BEARER] if is_guarded else [{}, _BEARER]
    handler.operation_class = partial(_operation, handler)  # type: ignore[assignment]


def _operation(handler: HTTPRouteHandler, **said: Any) -> Operation:  # noqa: ANN401 - as Litestar has it
    operation = Operation(**said)
    if _takes_key(handler):
        operation.parameters = [*(operation.parameters or []), _KEY]
    body = handler.parsed_fn_signature.parameters.get("data")
    if body and body.has_default and isinstance(operation.request_body, RequestBody):
        operation.request_body.required = False
    return operation


def _takes_key(handler: HTTPRouteHandler) -> bool:
    return "POST" in handler.http_methods and handler.opt.get("takes_key", True)
