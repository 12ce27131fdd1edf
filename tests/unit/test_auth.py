"""Which callers each guard admits."""

from typing import Any

import pytest
from litestar import Litestar, get
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException

from shared.chassis.http.auth import GUEST, Caller, admin_only, operators_only, signed_in_only

CUSTOMER = Caller(user_id="ann")
OPERATOR = Caller(user_id="olga", is_operator=True)
ADMIN = Caller(user_id="root", is_operator=True, is_admin=True)


@get("/")
async def route() -> None: ...


def is_admitted(guard: Any, caller: Caller, method: str = "GET") -> bool:
    app = Litestar([route])
    connection: Any = ASGIConnection(
        {"type": "http", "method": method, "user": caller, "litestar_app": app}  # type: ignore[typeddict-item,misc]
    )
    try:
        guard(connection, route)
    except PermissionDeniedException:
        return False
    return True


@pytest.mark.parametrize(
    ("guard", "admitted"),
    [
        (signed_in_only, (True, True, True)),
        (operators_only, (False, True, True)),
        (admin_only, (False, False, True)),
    ],
)
def test_guard_admits_its_roles(guard: Any, admitted: tuple[bool, ...]):
    assert tuple(is_admitted(guard, caller) for caller in (CUSTOMER, OPERATOR, ADMIN)) == admitted


@pytest.mark.parametrize("guard", [signed_in_only, operators_only, admin_only])
def test_guard_asks_guests_to_sign_in(guard: Any):
    with pytest.raises(NotAuthorizedException):
        is_admitted(guard, GUEST)
    assert is_admitted(guard, GUEST, method="OPTIONS")
