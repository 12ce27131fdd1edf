"""Errors as `application/problem+json` (RFC 9457), on every route, each with a stable `type`.

`PROBLEM_TYPES` maps the codes of rejections to HTTP; rules know only the codes.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
import structlog
from litestar import Request, Response
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import ParameterKwarg
from litestar.plugins.problem_details import (
    ProblemDetailsConfig,
    ProblemDetailsException,
    ProblemDetailsPlugin,
)

from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.http.rate_limits import RateLimited
from shared.chassis.messages import plain_text
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:quadrille:problem:"

log = structlog.get_logger()

AnyRequest = Request[object, object, State]


class ProblemType(NamedTuple):
    """What a client receives for a code."""

    status: int
    slug: str | None = None
    """The last part of `type`; the code itself if none is given."""
    retry_after_seconds: int | None = None


PROBLEM_TYPES: Mapping[str, ProblemType] = {
    # the request
    "invalid-request": ProblemType(400),
    "foreign-origin": ProblemType(403),
    "client-gone": ProblemType(408),
    "request-in-flight": ProblemType(409),
    "event-too-large": ProblemType(413),
    "misdirected-request": ProblemType(421),
    "idempotency-key-reused": ProblemType(422),
    "unknown-position": ProblemType(422),
    "too-many-attempts": ProblemType(429),
    "too-many-requests": ProblemType(429),
    # this process
    "internal-error": ProblemType(500),
    "busy": ProblemType(503, retry_after_seconds=2),
    "rebuild-running": ProblemType(409),
    "rebuilding": ProblemType(503, retry_after_seconds=5),
    "projection-behind": ProblemType(503, retry_after_seconds=1),
    "storage-unavailable": ProblemType(503, retry_after_seconds=1),
    "too-many-waiting": ProblemType(503, retry_after_seconds=1),
    # orders and carts
    "not-in-cart": ProblemType(404),
    "unknown-order": ProblemType(404),
    "cart-full": ProblemType(409),
    "order-final": ProblemType(409),
    "price-changed": ProblemType(409),
    "cart-empty": ProblemType(422),
    "product-not-for-sale": ProblemType(422, slug="unknown-product"),
    # accounts
    "bad-credentials": ProblemType(401),
    "bad-refresh-token": ProblemType(401),
    "bad-link": ProblemType(403),
    "wrong-password": ProblemType(403, slug="bad-credentials"),
    "unknown-customer": ProblemType(404),
    "unknown-key": ProblemType(404),
    "email-taken": ProblemType(409),
    # catalogue and stock
    "unknown-product": ProblemType(404),
    "product-exists": ProblemType(409),
    "stock-reserved": ProblemType(409),
    "nothing-to-change": ProblemType(422),
    # shipments, mails, events, tasks
    "bad-signature": ProblemType(401),
    "unknown-contract": ProblemType(404),
    "unknown-carrier": ProblemType(404),
    "unknown-dead-letter": ProblemType(404),
    "unknown-held-event": ProblemType(404),
    "unknown-mail": ProblemType(404),
    "unknown-notification": ProblemType(404),
    "unknown-redrive": ProblemType(404),
    "unknown-shipment": ProblemType(404),
    "unknown-task": ProblemType(404),
    "notification-pending": ProblemType(409),
    "task-not-given-up": ProblemType(409),
    "task-running": ProblemType(409),
}

VIOLATED_RULE = ProblemType(409)
"""Of a code that is not in the table."""


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one field: `items[0].quantity`, `expected an integer ≥ 1`."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """RFC 9457; `type` is `urn:quadrille:problem:<slug>`, and extra members depend on it."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()


class BadRequest(Exception):
    """The request does not match its schema; one entry for each wrong field."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


class ProblemDetails(ProblemDetailsPlugin):
    """Litestar's plugin, with our types and sentences for every exception that a route may raise."""

    def __init__(self) -> None:
        super().__init__(
            ProblemDetailsConfig(
                exception_to_problem_detail_map={
                    Rejected: _rejected,
                    RateLimited: _rate_limited,
                    BadRequest: _bad_request,
                    StorageUnavailable: _storage_unavailable,
                }
            )
        )

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the handlers that need the request, which the plugin's own do not receive."""
        handlers = app_config.exception_handlers
        handlers.update(dict.fromkeys(TRANSIENT_DATABASE_ERRORS, _on_failed_read))
        handlers[HTTPException] = _on_http_exception
        handlers[Exception] = _on_bug
        return super().on_app_init(app_config)


def problem(code: str, detail: str, **extra: object) -> ProblemDetailsException:
    """The response for a code, as an exception."""
    problem_type = PROBLEM_TYPES.get(code, VIOLATED_RULE)
    seconds = problem_type.retry_after_seconds
    return _problem(
        problem_type.status,
        problem_type.slug or code,
        detail,
        headers=None if seconds is None else {"Retry-After": str(seconds)},
        extra=extra,
    )


def document(status: int, slug: str, detail: str) -> bytes:
    """A problem as JSON, for responses that are sent outside of the application."""
    return msgspec.json.encode(
        Problem(type=TYPE_PREFIX + slug, title=_title(slug), status=status, detail=detail)
    )


def slug_of(status: HTTPStatus) -> str:
    """Of a problem that means no more than its HTTP status: `not-found`."""
    return status.phrase.lower().replace(" ", "-")


def _problem(
    status: int,
    slug: str,
    detail: str,
    headers: dict[str, str] | None = None,
    extra: dict[str, object] | None = None,
) -> ProblemDetailsException:
    return ProblemDetailsException(
        type_=TYPE_PREFIX + slug,
        title=_title(slug),
        status_code=status,
        detail=detail,
        headers=headers,
        extra=extra,
    )


def _title(slug: str) -> str:
    return slug.replace("-", " ").capitalize()


def responses(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems that a route may respond with, for its OpenAPI document."""
    return {
        status: ResponseSpec(
            Problem,
            description=HTTPStatus(status).phrase,
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in statuses
    }


def field_error(error: msgspec.ValidationError) -> FieldError:
    """What msgspec found wrong, in plain words."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".").replace("[...]", "")
    match = re.match(r"Object (missing required|contains unknown) field `(\w+)`", message)
    if match:
        kind, name = match.groups()
        field = f"{field}.{name}" if field else name
        return FieldError(field=field, message="required" if "missing" in kind else "unknown field")
    return FieldError(field=field or "body", message=_in_words(message))


_WORDS = {
    "`int`": "an integer",
    "`float`": "a number",
    "`str`": "a string",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "an object",
    "`null`": "null",
    " >= ": " ≥ ",
    " <= ": " ≤ ",
    " | ": " or ",
    "Expected": "expected",
    "Invalid": "invalid",
}


def _in_words(message: str) -> str:
    for pattern, meaning in plain_text.IN_WORDS.items():
        message = message.replace(f"matching regex {pattern!r}", meaning)
    for technical, plain in _WORDS.items():
        message = message.replace(technical, plain)
    return message


def _rejected(rejected: Rejected) -> ProblemDetailsException:
    return problem(rejected.code, rejected.detail, **rejected.extra)


def _rate_limited(limited: RateLimited) -> ProblemDetailsException:
    response = _rejected(limited)
    response.headers = {"Retry-After": str(limited.retry_after_seconds)}
    return response


def _bad_request(error: BadRequest) -> ProblemDetailsException:
    return problem("invalid-request", str(error), errors=error.errors)


def _storage_unavailable(_: Exception) -> ProblemDetailsException:
    """The reason is for the log alone: it may contain data of other customers."""
    return problem(
        "storage-unavailable",
        "the database is unavailable; the request was not applied, retry it",
    )


def _on_failed_read(request: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    log.warning("database_read.failed", **_route(request), reason=str(error))
    return _storage_unavailable(error).to_response(request)


def _on_http_exception(request: AnyRequest, error: HTTPException) -> Response[dict[str, Any]]:
    if isinstance(error, ValidationException) and error.extra:
        errors = [
            _parameter_error(request, entry) for entry in error.extra if isinstance(entry, dict)
        ]
        return _bad_request(BadRequest(*errors)).to_response(request)
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _on_bug(request, error)
    slug = slug_of(HTTPStatus(error.status_code))
    return _problem(error.status_code, slug, error.detail, error.headers).to_response(request)


def _parameter_error(request: AnyRequest, entry: Mapping[str, str]) -> FieldError:
    """An entry of Litestar's list; it calls a body that is missing the parameter `data`."""
    name = str(entry.get("key", "body"))
    if name == "data":
        return FieldError(field="body", message="required")
    return FieldError(field=_sent_as(request, name), message=_in_words(entry["message"]))


def _sent_as(request: AnyRequest, name: str) -> str:
    """The parameter as the client spells it: `from`, where our name is `since`."""
    parameter = request.route_handler.parsed_fn_signature.parameters.get(name)
    definition = parameter.kwarg_definition if parameter else None
    if isinstance(definition, ParameterKwarg):
        return definition.name or name
    return name


def _on_bug(request: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    log.error("request.failed", **_route(request), exc_info=error)
    return problem("internal-error", "internal error; see the server log").to_response(request)


def _route(request: AnyRequest) -> dict[str, str]:
    """For the log, without the path: the id of a guest's order in it is a secret."""
    return {"method": request.method, "route": request.scope.get("path_template", "")}
