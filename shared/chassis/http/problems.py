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
    meaning: str = ""
    """A sentence for the OpenAPI document."""
    slug: str | None = None
    """The last part of `type`; the code itself if none is given."""
    retry_after_seconds: int | None = None


PROBLEM_TYPES: Mapping[str, ProblemType] = {
    # the request
    "invalid-request": ProblemType(
        400, "A part of the request does not match its schema; `errors` names each field."
    ),
    "foreign-origin": ProblemType(403, "A page of another origin may not change data here."),
    "client-gone": ProblemType(
        408, "The client closed the connection before its request was carried out."
    ),
    "request-in-flight": ProblemType(
        409, "A request with the same `Idempotency-Key` is under way; repeat it later."
    ),
    "precondition-failed": ProblemType(
        412, "What `If-Match` names has changed since; read it again."
    ),
    "event-too-large": ProblemType(413, "What the request leads to does not fit into one event."),
    "misdirected-request": ProblemType(421, "`Host` is not a name of this service."),
    "idempotency-key-reused": ProblemType(
        422, "The `Idempotency-Key` was used for another request."
    ),
    "unknown-position": ProblemType(422, "The event log ends before this position."),
    "too-many-attempts": ProblemType(
        429, "Too many wrong passwords; retry after `Retry-After` seconds."
    ),
    "too-many-requests": ProblemType(
        429, "A rate limit is reached; retry after `Retry-After` seconds."
    ),
    # this process
    "internal-error": ProblemType(500, "A fault of the service; its log has the reason."),
    "busy": ProblemType(503, "The service is overloaded or stops; retry.", retry_after_seconds=2),
    "rebuild-running": ProblemType(409, "A rebuild of the tables is under way."),
    "rebuilding": ProblemType(
        503, "The service rebuilds its tables after an upgrade; retry.", retry_after_seconds=5
    ),
    "projection-behind": ProblemType(
        503, "What the `Consistency-Token` names is not applied yet; retry.", retry_after_seconds=1
    ),
    "storage-unavailable": ProblemType(
        503,
        "The database is unavailable; the request was not applied, retry it.",
        retry_after_seconds=1,
    ),
    "too-many-waiting": ProblemType(
        503, "Too many requests wait for events; retry.", retry_after_seconds=1
    ),
    # orders and carts
    "not-in-cart": ProblemType(404, "The product is not in the cart."),
    "unknown-order": ProblemType(404, "There is no such order, or the caller may not see it."),
    "cart-full": ProblemType(
        409, "The cart has as many lines, or as many units on a line, as it may."
    ),
    "order-final": ProblemType(409, "The order has ended, or can no longer be cancelled."),
    "price-changed": ProblemType(
        409, "The list price is no longer the one of the request or the cart."
    ),
    "order-too-large": ProblemType(
        422, "The order has more lines, or more units of a product, than the shop accepts."
    ),
    "cart-empty": ProblemType(422, "There is nothing in the cart to order."),
    "product-not-for-sale": ProblemType(
        422, "A product of the request is unknown or no longer for sale.", slug="unknown-product"
    ),
    "address-not-in-book": ProblemType(
        422, "The address book has no address of this name.", slug="unknown-address"
    ),
    # accounts
    "bad-credentials": ProblemType(401, "E-mail address or password is wrong."),
    "bad-refresh-token": ProblemType(
        401, "The refresh token is expired, used or revoked: sign in again."
    ),
    "bad-link": ProblemType(403, "The link is not valid, is used, or has expired."),
    "wrong-password": ProblemType(403, "The current password is wrong.", slug="bad-credentials"),
    "not-admin": ProblemType(403, "Only an admin may do this.", slug="forbidden"),
    "unknown-customer": ProblemType(404, "There is no such customer."),
    "unknown-key": ProblemType(404, "There is no such signing key."),
    "unknown-address": ProblemType(404, "There is no address of this name."),
    "address-book-full": ProblemType(409, "The address book has as many addresses as it may."),
    "address-exists": ProblemType(409, "There is an address of this name."),
    "email-taken": ProblemType(409, "There is an account with this e-mail address."),
    "email-not-verified": ProblemType(
        409, "The account's address was never verified: somebody else may have registered it."
    ),
    "own-role": ProblemType(409, "Your own role is changed by another admin."),
    # catalogue and stock
    "unknown-product": ProblemType(404, "There is no such product, or it is deleted."),
    "product-exists": ProblemType(409, "There is a product with this id, or was."),
    "stock-reserved": ProblemType(409, "Orders have reserved more than would be left."),
    "nothing-to-change": ProblemType(422, "The request would change nothing."),
    # shipments, mails, events, tasks
    "bad-signature": ProblemType(401, "The signature of the callback is not the carrier's."),
    "unknown-contract": ProblemType(404, "There is no such event, or no such version of it."),
    "unknown-carrier": ProblemType(404, "There is no such carrier."),
    "unknown-dead-letter": ProblemType(404, "The entity has no dead letter, or not this one."),
    "unknown-held-event": ProblemType(404, "No such event is held."),
    "unknown-mail": ProblemType(404, "There is no such mail."),
    "unknown-notification": ProblemType(404, "There is no such notification."),
    "unknown-redrive": ProblemType(404, "There is no such redrive."),
    "unknown-shipment": ProblemType(404, "There is no such shipment."),
    "unknown-task": ProblemType(404, "There is no such task: it is done, or cancelled."),
    "notification-pending": ProblemType(409, "The mail is about to be sent."),
    "shipment-ended": ProblemType(409, "The shipment has ended in another way."),
    "shipment-not-dispatched": ProblemType(
        409, "No carrier has confirmed the shipment yet: cancel the order instead."
    ),
    "task-not-given-up": ProblemType(409, "Tasks of this kind cannot be given up."),
    "task-running": ProblemType(409, "The task is being executed."),
}

STATUS_SLUGS = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "request-entity-too-large",
    431: "request-header-fields-too-large",
}
"""Of problems that mean no more than their HTTP status; releases of Python differ in the phrases."""

_MEANINGS = {
    400: "The request is malformed.",
    401: "The access token is missing, expired or refused.",
    403: "The caller may not do this.",
    404: "There is no such route.",
    405: "The route does not have this method.",
    408: "The request did not arrive in time.",
    413: "The body is larger than 1 MiB.",
    431: "URL and headers are larger than 64 KiB.",
}
_OF_STATUS = {slug: ProblemType(status, _MEANINGS[status]) for status, slug in STATUS_SLUGS.items()}

_PLAIN = {
    400: ("invalid-request",),
    401: ("unauthorized",),
    403: ("forbidden",),
    413: ("request-entity-too-large",),
    429: ("too-many-requests",),
    503: ("storage-unavailable",),
}
"""The codes that a status alone stands for."""

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
    return STATUS_SLUGS.get(status) or status.phrase.lower().replace(" ", "-")


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


class ProblemResponse(ResponseSpec):
    """The problems that a route may respond with, of one status."""

    def __init__(self, *codes: str) -> None:
        super().__init__(Problem, generate_examples=False, media_type=MEDIA_TYPE)
        self.codes = codes


def responses(*codes: str | int) -> dict[int, ResponseSpec]:
    """What a route may respond with besides what follows from its body, its guards and its method.

    A code stands for one problem, a status for the one that means no more than it.
    """
    by_status: dict[int, list[str]] = {}
    for code in codes:
        if isinstance(code, int):
            by_status.setdefault(code, []).extend(_PLAIN.get(code, ()))
        else:
            by_status.setdefault(type_of(code).status, []).append(code)
    return {status: ProblemResponse(*slugs) for status, slugs in by_status.items()}


def type_of(code: str) -> ProblemType:
    """What a client receives for a code of the table, or for one that means no more than its status."""
    problem_type = PROBLEM_TYPES.get(code) or _OF_STATUS.get(code)
    if problem_type is None:
        raise ValueError(f"{code} is no code of a problem")
    return problem_type


def all_types() -> list[str]:
    """Every value of `type`."""
    slugs = {row.slug or code for code, row in PROBLEM_TYPES.items()} | _OF_STATUS.keys()
    return [TYPE_PREFIX + slug for slug in sorted(slugs)]


def example_of(code: str) -> Problem:
    """A response with the problem."""
    problem_type = type_of(code)
    slug = problem_type.slug or code
    errors = (FieldError(field="limit", message="expected an integer"),)
    return Problem(
        type=TYPE_PREFIX + slug,
        title=_title(slug),
        status=problem_type.status,
        detail=problem_type.meaning,
        errors=errors if code == "invalid-request" else (),
    )


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
    message = re.sub(r"matching regex '.*'", "of another form", message)
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
