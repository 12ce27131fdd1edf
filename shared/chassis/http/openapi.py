"""Each service's OpenAPI document, at `/schema/openapi.json`, and its page at `/schema`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from litestar import Litestar, Request, Router
from litestar.enums import OpenAPIMediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme, Server, ServerVariable, Tag

from shared import VERSION
from shared.chassis.http import openapi_document, swagger
from shared.chassis.http.representation import PUBLIC_DATA
from shared.chassis.http.swagger import LocalSwagger

WITHOUT_KEY = {"takes_key": False}
"""The `opt` of a POST that ignores `Idempotency-Key`."""

_TOKEN = SecurityScheme(
    type="http",
    scheme="bearer",
    bearer_format="JWT",
    description="the `accessToken` that the order service's `POST /auth/login` answers",
)
_CONVENTIONS = """
* Errors are `application/problem+json` (RFC 9457); `type` names the problem, and each response lists what it can be.
  Before it looks at a route, a service may also answer 403 `foreign-origin`, 408 `request-timeout`, 421 `misdirected-request`,
  431 `request-header-fields-too-large` or 503 `busy`.
* A query parameter that a route does not have is a 400, which suggests the nearest one.
* A route that answers GET answers HEAD too. Every route is also at `/api`, as `/api/orders`.
* A body of 1 KiB or more is compressed for clients that send `Accept-Encoding: gzip`, but not if it contains a token.
"""


class ApiDescription(NamedTuple):
    """What the document of a service contains besides its routes."""

    description: str = ""
    port: int | None = None
    """The one that it has unless a setting changes it."""
    tags: Mapping[str, str] = {}
    """The groups of the service's own routes, and what each is about."""
    examples: Mapping[str, object] = {}
    """Believable values of fields, by their names in JSON, or by schema and name: `OrderView.status`."""


NO_DESCRIPTION = ApiDescription()

TAGS = {
    "health": "Whether the service runs, and whether it does its work.",
    "dead letters": "Events that could not be handled, and the later ones of their entities: for operators.",
    "tasks": "Work that is due later, such as bookings, mails and deadlines: for operators.",
    "contracts": "What events look like.",
    "events": "The service's events.",
    "audit": "Figures that `quadrille check --online` compares: for operators.",
    "rebuild": "Derived tables, folded again from stored events: for operators.",
}
"""The groups of the routes that several services have."""


class DocumentPlugin(OpenAPIRenderPlugin):
    """In place of Litestar's document, which is wrong for several of our types."""

    def __init__(self, api: ApiDescription) -> None:
        super().__init__(path="/openapi.json", media_type=OpenAPIMediaType.OPENAPI_JSON)
        self.api = api
        self._rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002 - Litestar's signature
        """The document; it does not change while the process runs."""
        if self._rendered is None:
            self._rendered = msgspec.json.encode(document(request.app))
        return self._rendered


def config(title: str, api: ApiDescription = NO_DESCRIPTION) -> OpenAPIConfig:
    """How a process's document is made, and its page at `/schema`."""
    return OpenAPIConfig(
        title=title,
        version=VERSION,
        description=api.description + "\n" + _CONVENTIONS,
        license=License(name="MIT", identifier="MIT"),
        servers=_servers(api),
        tags=[Tag(name, description=text) for name, text in {**api.tags, **TAGS}.items()],
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        render_plugins=[LocalSwagger(), DocumentPlugin(api)],
        openapi_router=Router(
            "/schema",
            route_handlers=[swagger.files()],
            response_headers={"Content-Security-Policy": swagger.PAGE_POLICY},
            cache_control=PUBLIC_DATA,
            include_in_schema=False,
        ),
        components=Components(security_schemes={"bearer": _TOKEN}),
    )


def document(app: Litestar) -> dict[str, Any]:
    """The OpenAPI document of an application with this module's configuration: the same at every start."""
    if app.openapi_config is None:
        raise ValueError("the application has no OpenAPI document")
    [plugin] = [p for p in app.openapi_config.render_plugins if isinstance(p, DocumentPlugin)]
    return openapi_document.build(app, plugin.api.examples)


def _servers(api: ApiDescription) -> list[Server]:
    servers = [Server("/"), Server("/api", description="the same routes")]
    if api.port is not None:
        port = ServerVariable(default=str(api.port), description="a setting of the service")
        local = Server("http://localhost:{port}", description="`quadrille up`")
        servers.append(Server(local.url, local.description, {"port": port}))
    return servers


def _operation_id(handler: HTTPRouteHandler, _method: object, _path: object) -> str:
    """`place_order` becomes `placeOrder`."""
    first, *others = handler.handler_name.split("_")
    return first + "".join(word.capitalize() for word in others)
