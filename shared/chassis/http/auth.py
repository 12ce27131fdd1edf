"""Authentication by access tokens, which the order service signs with Ed25519 and every service checks itself.

The public keys are published as events; each service stores them in its own database (`signing_keys.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.utils import base64url_decode
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp
from msgspec import Struct
from sqlalchemy import Connection as DatabaseConnection

from shared.chassis.http import signing_keys, token_versions
from shared.chassis.http.key_trust import PublishedKey, Trust
from shared.chassis.http.token_versions import MAX_TOKEN_SECONDS
from shared.chassis.messages import actor, clock
from shared.chassis.storage.cached import Cached
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database

ALGORITHM = "EdDSA"
ISSUER = "quadrille"
AUDIENCE = "quadrille"
LEEWAY_SECONDS = 30
"""How far the clocks of two services may differ: a token is accepted this long before `iat` and after `exp`."""

TOKEN_IN_QUERY = "accessToken"  # noqa: S105 - a name
"""Set in a route's `opt`, it permits the token as a query parameter: browsers send event streams no headers."""

Connection = ASGIConnection[Any, Any, Any, Any]

log = structlog.get_logger()


class Caller(Struct, frozen=True, kw_only=True):
    """The sender of a request; a guest is one without a token."""

    user_id: str | None = None
    is_admin: bool = False
    is_operator: bool = False
    """Whether the caller may look after the services; an admin may too."""

    @property
    def is_guest(self) -> bool:
        return self.user_id is None

    @property
    def actor(self) -> str:
        """As it is recorded with the events of the caller's commands."""
        if self.user_id is None:
            return actor.GUEST
        role = "admin" if self.is_admin else "operator" if self.is_operator else "customer"
        return f"{role}:{self.user_id}"


GUEST = Caller()


class Access(Struct, frozen=True, kw_only=True):
    """What a valid access token grants."""

    caller: Caller
    key_id: str
    """The key that the token is signed with."""
    token_version: int = 0
    """Below the user's own version the token is revoked."""
    expires_at: datetime
    """When the token is no longer accepted."""

    @property
    def seconds_left(self) -> float:
        """How long the token is still accepted; negative when it has expired."""
        return (self.expires_at - clock.now()).total_seconds()


class _Claims(Struct, frozen=True, kw_only=True):
    """The claims that PyJWT does not check itself, or leaves as any JSON."""

    sub: str
    role: str | None = None
    ver: Annotated[int, msgspec.Meta(ge=0)] = 0
    iat: float
    exp: float


class _Accepted(NamedTuple):
    """Which tokens are accepted, as stored in the database."""

    trusted: Mapping[str, Ed25519PublicKey]
    untrusted: Sequence[str]
    token_versions: Mapping[str, int]


class PublicKeys:
    """The signing keys that this service trusts and the tokens that are revoked, in memory.

    The database is read again only after `reload`, never because a token names a key that is unknown.
    """

    def __init__(self, database: Database) -> None:
        self._accepted = Cached(database, _load)

    def reload(self) -> None:
        """Read the database again before the next check: its keys or versions have changed."""
        self._accepted.reload()

    async def warnings(self) -> list[str]:
        """One for each key that was published and is not trusted."""
        try:
            untrusted = (await self._accepted.get()).untrusted
        except TRANSIENT_DATABASE_ERRORS:  # readiness reports a database that cannot be read
            return []
        return [
            f"signing key {key_id} is not trusted: no trusted key vouches for it"
            for key_id in untrusted
        ]

    async def verify(self, token: str) -> Access:
        """What the token grants. Raises jwt.InvalidTokenError for one that is not accepted."""
        key_id = str(jwt.get_unverified_header(token).get("kid"))
        accepted = await self._accepted.get()
        key = accepted.trusted.get(key_id)
        if key is None:
            raise jwt.InvalidTokenError("signed with an unknown key")
        claims = _claims(token, key)
        if claims.ver < accepted.token_versions.get(claims.sub, 0):
            raise jwt.InvalidTokenError("its session has ended: sign in again")
        return Access(
            caller=_caller(claims),
            key_id=key_id,
            token_version=claims.ver,
            expires_at=datetime.fromtimestamp(claims.exp + LEEWAY_SECONDS, UTC),
        )

    async def still_accept(self, access: Access) -> bool:
        """Whether the token, which was valid, is neither expired nor revoked, and its key is still trusted."""
        accepted = await self._accepted.get()
        version = accepted.token_versions.get(access.caller.user_id or "", 0)
        return (
            access.seconds_left > 0
            and access.key_id in accepted.trusted
            and access.token_version >= version
        )


def _claims(token: str, key: Ed25519PublicKey) -> _Claims:
    payload = jwt.decode(
        token,
        key,
        algorithms=[ALGORITHM],
        issuer=ISSUER,
        audience=AUDIENCE,
        leeway=LEEWAY_SECONDS,
        options={"require": ["exp", "iat", "sub", "iss", "aud"], "strict_aud": True},
    )
    try:
        claims = msgspec.convert(payload, _Claims)
    except msgspec.ValidationError as error:
        raise jwt.InvalidTokenError(str(error)) from error
    if claims.exp - claims.iat > MAX_TOKEN_SECONDS:
        raise jwt.InvalidTokenError("it is valid for too long")
    return claims


def _caller(claims: _Claims) -> Caller:
    return Caller(
        user_id=claims.sub,
        is_admin=claims.role == "admin",
        is_operator=claims.role in {"operator", "admin"},
    )


def _load(connection: DatabaseConnection) -> _Accepted:
    trusted: dict[str, Ed25519PublicKey] = {}
    untrusted: list[str] = []
    for key in signing_keys.load(connection).keys.values():
        if key.trust is Trust.UNTRUSTED:
            untrusted.append(key.key_id)
        elif key.trust is Trust.TRUSTED and (public_key := _decoded(key)):
            trusted[key.key_id] = public_key
    return _Accepted(trusted, sorted(set(untrusted)), token_versions.load(connection))


def _decoded(key: PublishedKey) -> Ed25519PublicKey | None:
    """The public key; None for a malformed one, which must not make the others unusable."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64url_decode(key.public_key))
    except ValueError as error:
        log.warning("signing_key.malformed", key_id=key.key_id, reason=str(error))
        return None


class Authentication(AbstractAuthenticationMiddleware):
    """Sets `request.user` to the Caller and, if there is a token, `request.auth` to its Access."""

    def __init__(self, app: ASGIApp, keys: PublicKeys) -> None:
        super().__init__(app)
        self._keys = keys

    async def authenticate_request(self, connection: Connection) -> AuthenticationResult:
        """A guest without a token, else the bearer of a valid one. Raises NotAuthorizedException."""
        token = _token(connection)
        if token is None:
            return AuthenticationResult(user=GUEST, auth=None)
        try:
            access = await self._keys.verify(token)
        except jwt.InvalidTokenError as error:
            raise _unauthorized(f"the access token is refused: {error}") from error
        return AuthenticationResult(user=access.caller, auth=access)


def _token(connection: Connection) -> str | None:
    header = connection.headers.get("authorization")
    if header is None:
        is_allowed = connection.route_handler.opt.get(TOKEN_IN_QUERY)
        return connection.query_params.get(TOKEN_IN_QUERY) if is_allowed else None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthorized("expected `Authorization: Bearer <token>`")
    return token.strip()


def admin_only(connection: Connection, _: BaseRouteHandler) -> None:
    """The guard of routes for admins."""
    signed_in_only(connection, _)
    if not _is_options(connection) and not connection.user.is_admin:
        raise PermissionDeniedException("only an admin may do this")


def operators_only(connection: Connection, _: BaseRouteHandler) -> None:
    """The guard of routes for operators and admins."""
    signed_in_only(connection, _)
    if not _is_options(connection) and not connection.user.is_operator:
        raise PermissionDeniedException("only an operator or an admin may do this")


def signed_in_only(connection: Connection, _: BaseRouteHandler) -> None:
    """The guard of routes for everybody but guests."""
    if not _is_options(connection) and connection.user.is_guest:
        raise sign_in_first()


def _is_options(connection: Connection) -> bool:
    """Litestar answers OPTIONS itself: it runs the guards, but not the middleware that sets `user`."""
    return connection.scope.get("method") == "OPTIONS"


def sign_in_first() -> NotAuthorizedException:
    """The response to a guest where only customers are served."""
    return _unauthorized("sign in first: POST /auth/login at the order service")


def _unauthorized(detail: str) -> NotAuthorizedException:
    return NotAuthorizedException(detail, headers={"WWW-Authenticate": "Bearer"})
