"""The codes of rejections: rules raise them without knowing HTTP, and one table maps each to what clients rely on."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar, get
from litestar.exceptions import NotAuthorizedException
from litestar.params import FromPath
from litestar.testing import TestClient
from sqlalchemy.exc import OperationalError

from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.http.problems import PROBLEM_TYPES, BadRequest, FieldError, ProblemDetails
from shared.chassis.http.rate_limits import Limit, Limiter, RateLimited
from shared.chassis.messages.rejection import Rejected

ROOT = Path(__file__).parents[2]
PACKAGES = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"]
REJECTIONS = {"Rejected", "RateLimited"}

STATUSES = {
    400: {"invalid-request"},
    401: {"bad-credentials", "bad-refresh-token", "bad-signature"},
    403: {"bad-link", "foreign-origin", "not-admin", "wrong-password"},
    404: {
        *("not-in-cart", "unknown-carrier", "unknown-customer", "unknown-held-event"),
        *("unknown-key", "unknown-mail", "unknown-notification", "unknown-order"),
        *("unknown-product", "unknown-shipment", "unknown-task"),
        "unknown-address",
        *("unknown-contract", "unknown-dead-letter", "unknown-redrive"),
    },
    408: {"client-gone"},
    409: {
        *("address-book-full", "address-exists"),
        *(
            "cart-full",
            "email-not-verified",
            "email-taken",
            "own-role",
            "notification-pending",
            "order-final",
            "price-changed",
        ),
        *("product-exists", "rebuild-running", "request-in-flight", "stock-reserved"),
        *("shipment-ended", "shipment-not-dispatched", "task-not-given-up", "task-running"),
    },
    412: {"precondition-failed"},
    413: {"event-too-large"},
    421: {"misdirected-request"},
    422: {
        *("cart-empty", "idempotency-key-reused", "nothing-to-change", "product-not-for-sale"),
        *("address-not-in-book", "order-too-large", "unknown-position"),
    },
    429: {"too-many-attempts", "too-many-requests"},
    500: {"internal-error"},
    503: {"busy", "projection-behind", "rebuilding", "storage-unavailable", "too-many-waiting"},
}
"""Clients rely on these: a change here is a change of the API."""


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def calls(*names: str) -> Iterator[tuple[Path, ast.Call]]:
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            for node in ast.walk(parse(path)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", None) in names:
                    yield path, node


def codes_in(expression: ast.expr) -> set[str]:
    """The constants that the expression may be; it must be one, or choose between two."""
    match expression:
        case ast.Constant(value=str(code)):
            return {code}
        case ast.IfExp(body=body, orelse=orelse):
            return codes_in(body) | codes_in(orelse)
    raise AssertionError(f"not a constant: {ast.unparse(expression)}")


def test_every_raised_code_has_a_problem_type():
    raised = {code for _, call in calls(*REJECTIONS) for code in codes_in(call.args[0])}
    assert len(raised) > 30
    assert raised <= PROBLEM_TYPES.keys()


def test_every_problem_type_is_used():
    table = ROOT / "shared/chassis/http/problems.py"
    sources = [path for package in PACKAGES for path in package.rglob("*.py") if path != table]
    constants = {
        node.value
        for tree in [*map(parse, sources), _function_bodies(parse(table))]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
    }
    assert PROBLEM_TYPES.keys() <= constants


def _function_bodies(module: ast.Module) -> ast.Module:
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    return ast.Module(body=functions, type_ignores=[])


def test_rejections_do_not_mention_http():
    assert {error.__name__ for error in subclasses(Rejected)} <= REJECTIONS
    for path, call in calls(*REJECTIONS):
        names = {keyword.arg for keyword in call.keywords}
        assert not names & {"status", "status_code", "headers"}, f"{path}:{call.lineno}"


def subclasses(error_type: type[Exception]) -> Iterator[type[Exception]]:
    yield error_type
    for subclass in error_type.__subclasses__():
        yield from subclasses(subclass)


def test_codes_keep_their_statuses():
    statuses = {code: status for status, codes in STATUSES.items() for code in codes}
    assert {code: row.status for code, row in PROBLEM_TYPES.items()} == statuses


def test_unavailable_is_retried_after_seconds():
    seconds = {code: row.retry_after_seconds for code, row in PROBLEM_TYPES.items()}
    assert {code: wait for code, wait in seconds.items() if wait is not None} == {
        "busy": 2,
        "projection-behind": 1,
        "rebuilding": 5,
        "storage-unavailable": 1,
        "too-many-waiting": 1,
    }


def failing(path: str, error: Exception):
    @get(path, sync_to_thread=False)
    def fail() -> None:
        raise error

    return fail


def limited() -> RateLimited:
    limiter = Limiter("registrations_per_address=1/hour")
    limiter.take((Limit.REGISTRATIONS_PER_ADDRESS, "here"))
    with pytest.raises(RateLimited) as caught:
        limiter.take((Limit.REGISTRATIONS_PER_ADDRESS, "here"))
    return caught.value


@pytest.mark.parametrize(
    ("error", "status", "slug", "members", "headers"),
    [
        (
            Rejected("product-not-for-sale", "no", productId="p1"),
            422,
            "unknown-product",
            {"title": "Unknown product", "detail": "no", "productId": "p1"},
            {},
        ),
        (Rejected("wrong-password", "no"), 403, "bad-credentials", {}, {}),
        (Rejected("busy", "no"), 503, "busy", {}, {"Retry-After": "2"}),
        (Rejected("not-in-the-table", "no"), 409, "not-in-the-table", {}, {}),
        (
            limited(),
            429,
            "too-many-requests",
            {"limit": "registrations_per_address"},
            {"Retry-After": "3600"},
        ),
        (
            BadRequest(FieldError(field="email", message="required")),
            400,
            "invalid-request",
            {
                "detail": "email: required",
                "errors": [{"field": "email", "message": "required"}],
            },
            {},
        ),
        (StorageUnavailable("secret"), 503, "storage-unavailable", {}, {"Retry-After": "1"}),
        (
            OperationalError("SELECT secret", {}, Exception("secret")),
            503,
            "storage-unavailable",
            {},
            {"Retry-After": "1"},
        ),
        (
            NotAuthorizedException("sign in", headers={"WWW-Authenticate": "Bearer"}),
            401,
            "unauthorized",
            {"title": "Unauthorized", "detail": "sign in"},
            {"WWW-Authenticate": "Bearer"},
        ),
        (KeyError("secret"), 500, "internal-error", {"title": "Internal error"}, {}),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, Exception) else "",
)
def test_exception_becomes_its_problem_document(
    error: Exception, status: int, slug: str, members: dict, headers: dict
):
    with TestClient(Litestar([failing("/", error)], plugins=[ProblemDetails()])) as client:
        response = client.get("/")
    problem = response.json()
    assert response.status_code == problem["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:quadrille:problem:{slug}"
    assert problem | members == problem
    assert {name: response.headers[name] for name in headers} == headers
    assert "secret" not in response.text
    assert {"type", "title", "status", "detail"} <= problem.keys()


def test_wrong_parameter_is_named_as_sent():
    @get("/{number:str}", sync_to_thread=False)
    def echo(number: FromPath[int]) -> int:
        return number

    with TestClient(Litestar([echo], plugins=[ProblemDetails()])) as client:
        problem = client.get("/x").json()
        missing = client.get("/a/b").json()
    assert problem["errors"] == [
        {"field": "number", "message": "expected an integer, got a string"}
    ]
    assert missing["type"] == "urn:quadrille:problem:not-found"
