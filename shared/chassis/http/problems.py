"""Errors as `application/problem+json` (RFC 9457), on every route, each with a stable `type`."""

import re
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import ParameterKwarg

from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.messages import plain_text
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:quadrille:problem:"

log = structlog.get_logger()


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
    """The request is not what the schema says; one entry for each wrong field."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


def problem(status: int, slug: str, detail: str, **extra: object) -> Response[dict[str, object]]:
    """The response for one problem."""
    body = document(status, slug, detail, **extra)
    return Response(body, status_code=status, media_type=MEDIA_TYPE)


def document(status: int, slug: str, detail: str, **extra: object) -> dict[str, object]:
    """A problem's members."""
    return {
        "type": TYPE_PREFIX + slug,
        "title": slug.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        **extra,
    }


def responses(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems a route may answer, for its OpenAPI document."""
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
    """Say in plain words what msgspec found: first where, then what."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".").replace("[...]", "")
    named = re.match(r"Object (missing required|contains unknown) field `(\w+)`", message)
    if named:
        kind, name = named.groups()
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


def _on_refused(_: Request[Any, Any, Any], refused: Rejected) -> Response[dict[str, object]]:
    response = problem(refused.status, refused.problem, refused.detail, **refused.extra)
    response.headers.update(refused.headers)
    return response


def _on_bad_request(_: Request[Any, Any, Any], error: BadRequest) -> Response[dict[str, object]]:
    return problem(400, "invalid-request", str(error), errors=error.errors)


def _on_storage(_: Request[Any, Any, Any], __: Exception) -> Response[dict[str, object]]:
    """What went wrong is for the log alone: it may name what others have written."""
    response = problem(
        503,
        "storage-unavailable",
        "the database is unavailable; the request was not applied, retry it",
    )
    response.headers["Retry-After"] = "1"
    return response


def _on_unreadable(
    request: Request[Any, Any, Any], error: Exception
) -> Response[dict[str, object]]:
    log.warning("database_read.failed", **_route(request), reason=str(error))
    return _on_storage(request, error)


def _on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, object]]:
    if isinstance(error, ValidationException) and error.extra:
        found = tuple(
            _parameter_error(request, entry) for entry in error.extra if isinstance(entry, dict)
        )
        bad = BadRequest(*found)
        return problem(400, "invalid-request", str(bad), errors=found)
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _on_bug(request, error)
    slug = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    response = problem(error.status_code, slug, error.detail)
    response.headers.update(error.headers or {})
    return response


def _parameter_error(request: Request[Any, Any, Any], entry: dict[str, Any]) -> FieldError:
    """What Litestar found; a body that is not there it calls the missing parameter `data`."""
    name = str(entry.get("key", "body"))
    if name == "data":
        return FieldError(field="body", message="required")
    return FieldError(field=_sent_as(request, name), message=_in_words(entry["message"]))


def _sent_as(request: Request[Any, Any, Any], name: str) -> str:
    """The parameter as the client spells it: `from`, where our name is `since`."""
    parameter = request.route_handler.parsed_fn_signature.parameters.get(name)
    definition = parameter.kwarg_definition if parameter else None
    if isinstance(definition, ParameterKwarg):
        return definition.name or name
    return name


def _on_bug(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, object]]:
    log.error("request.failed", **_route(request), exc_info=error)
    return problem(500, "internal-error", "internal error; see the server log")


def _route(request: Request[Any, Any, Any]) -> dict[str, str]:
    """For the log: not the path itself, for the id of a guest's order in it is a secret."""
    return {"method": request.method, "route": request.scope.get("path_template", "")}


HANDLERS: dict[int | type[Exception], Any] = {
    Rejected: _on_refused,
    BadRequest: _on_bad_request,
    StorageUnavailable: _on_storage,
    **dict.fromkeys(TRANSIENT_DATABASE_ERRORS, _on_unreadable),
    HTTPException: _on_http,
    Exception: _on_bug,
}
