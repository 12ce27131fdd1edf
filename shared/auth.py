"""Who calls: tokens signed by the order service with Ed25519, checked with its public key alone.

The key travels as the event SigningKeyPublished, and each service keeps it in its own database.
"""

from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.utils import base64url_decode
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from msgspec import Struct

from shared import signing_key
from shared.database import Database

ALGORITHM = "EdDSA"
ISSUER = "quadrille"

TOKEN_IN_QUERY = "accessToken"  # noqa: S105 - a name
"""Set in a route's `opt`, it lets browsers put the token there where they can set no header, as for event streams."""


class Caller(Struct, frozen=True, kw_only=True):
    """Who sent the request; a guest is nobody in particular."""

    user_id: str | None = None
    is_admin: bool = False

    @property
    def is_guest(self) -> bool:
        """Whether nobody is signed in."""
        return self.user_id is None


GUEST = Caller()


class Keys:
    """The public keys that this service has heard of."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Ed25519PublicKey] = {}

    async def find(self, key_id: str) -> Ed25519PublicKey | None:
        """The key of that id; None if nobody has published it, or we have not heard yet."""
        if key_id not in self._known:
            encoded = await self._database.run(signing_key.known)
            self._known = {name: public_key(key) for name, key in encoded.items()}
        return self._known.get(key_id)

    async def caller(self, token: str) -> Caller:
        """Whom the token names. Raises jwt.InvalidTokenError for one that is not ours, or over."""
        key = await self.find(str(jwt.get_unverified_header(token).get("kid")))
        if key is None:
            raise jwt.InvalidTokenError("signed with an unknown key")
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            options={"require": ["exp", "sub", "iss"]},
        )
        return Caller(user_id=claims["sub"], is_admin=claims.get("role") == "admin")


def public_key(encoded: str) -> Ed25519PublicKey:
    """The key in its 32 bytes, base64url."""
    return Ed25519PublicKey.from_public_bytes(base64url_decode(encoded))


def authentication(keys: Keys) -> type[AbstractAuthenticationMiddleware]:
    """The middleware that puts the Caller into `request.user`; a bad token is refused at once."""

    class Authentication(AbstractAuthenticationMiddleware):
        async def authenticate_request(
            self, connection: ASGIConnection[Any, Any, Any, Any]
        ) -> AuthenticationResult:
            """A guest without `Authorization`, else the bearer of a valid token."""
            token = _token(connection)
            if token is None:
                return AuthenticationResult(user=GUEST, auth=None)
            try:
                caller = await keys.caller(token)
            except jwt.InvalidTokenError as error:
                raise _unauthorized(f"the access token is refused: {error}") from error
            return AuthenticationResult(user=caller, auth=token)

    return Authentication


def _token(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    given = connection.headers.get("authorization")
    if given is None:
        is_allowed = connection.route_handler.opt.get(TOKEN_IN_QUERY)
        return connection.query_params.get(TOKEN_IN_QUERY) if is_allowed else None
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthorized("expected `Authorization: Bearer <token>`")
    return token.strip()


def admin_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """The guard of what only an admin may do."""
    signed_in_only(connection, _)
    if not connection.user.is_admin:
        raise PermissionDeniedException("only an admin may do this")


def signed_in_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """The guard of what needs a customer."""
    if connection.user.is_guest:
        raise _unauthorized("sign in first: POST /auth/login at the order service")


def _unauthorized(detail: str) -> NotAuthorizedException:
    return NotAuthorizedException(detail, headers={"WWW-Authenticate": "Bearer"})
