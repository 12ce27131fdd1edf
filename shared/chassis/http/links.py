"""Links in mails: signed by the service that renders mails, for one purpose and one subject, until they expire.

A link is a JSON Web Token. The notifier signs it with a key of its own and publishes the public key, so no secret is
shared and none is in an event. The first key that a service receives is pinned: another one is never trusted.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.utils import base64url_decode
from sqlalchemy import Boolean, Column, Connection, Table, Text, select

from shared.chassis.http.auth import ALGORITHM, ISSUER
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.messages.identity_events import LinkKeyPublished
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import bad_link
from shared.chassis.storage.cached import Cached
from shared.chassis.storage.database import (
    CHASSIS_METADATA,
    TRANSIENT_DATABASE_ERRORS,
    Database,
    insert_all,
)

MAX_LENGTH = 1000
MAX_UNTRUSTED = 32
"""One who can publish must not be able to fill the database."""

LINK_KEY = Table(
    "link_key",
    CHASSIS_METADATA,
    Column("key_id", Text, primary_key=True),
    Column("public_key", Text, primary_key=True, comment="Ed25519, base64url"),
    Column("is_trusted", Boolean, nullable=False, comment="true for the first one only"),
)

log = structlog.get_logger()


class Purpose(StrEnum):
    """What a link is good for; the subject is the id of a request, or of the order."""

    PASSWORD_RESET = "password-reset"  # noqa: S105 - a name
    EMAIL_VERIFICATION = "email-verification"
    ORDER = "order"


def sign(signer: TokenSigner, purpose: Purpose, subject: str, expires_at: datetime) -> str:
    """The link's token. The same arguments give the same token, so a repeated mail contains the same link."""
    return signer.token(
        {"iss": ISSUER, "aud": _audience(purpose), "sub": subject, "exp": expires_at}
    )


class LinkKeys:
    """Verifies links, with the trusted key in memory."""

    def __init__(self, database: Database) -> None:
        self._keys = Cached(database, _load)

    def reload(self) -> None:
        """Read the database again before the next use: its keys have changed."""
        self._keys.reload()

    async def subject_of(self, link: str, purpose: Purpose) -> str:
        """What a link for this purpose is about. Raises Rejected, `bad-link`, whatever is wrong with it."""
        try:
            return _verified(link, purpose, (await self._keys.get()).trusted)
        except jwt.InvalidTokenError as error:
            raise bad_link() from error

    async def warnings(self) -> list[str]:
        """One for each key that was published and is not trusted."""
        try:
            untrusted = (await self._keys.get()).untrusted
        except TRANSIENT_DATABASE_ERRORS:  # readiness reports a database that cannot be read
            return []
        return [
            f"links that are signed with key {key_id} are refused: another key was received first"
            for key_id in untrusted
        ]


def keep(connection: Connection, received: Sequence[RecordedEvent]) -> None:
    """Store the keys among the events; the first one is trusted."""
    for recorded in received:
        if isinstance(recorded.event, LinkKeyPublished):
            _keep(connection, recorded.event)


def forget(connection: Connection) -> None:
    """Trust no key any more: the next one that is received is pinned."""
    connection.execute(LINK_KEY.delete())


def _keep(connection: Connection, event: LinkKeyPublished) -> None:
    rows = connection.execute(select(LINK_KEY)).all()
    if any((row.key_id, row.public_key) == (event.key_id, event.public_key) for row in rows):
        return
    is_trusted = not any(row.is_trusted for row in rows)
    if not is_trusted:
        log.error("link_key.refused", key_id=event.key_id, reason="another key is pinned")
    if is_trusted or len(rows) <= MAX_UNTRUSTED:
        key = {"key_id": event.key_id, "public_key": event.public_key, "is_trusted": is_trusted}
        insert_all(connection, LINK_KEY, [key])


class _LoadedKeys(NamedTuple):
    trusted: Mapping[str, Ed25519PublicKey]
    untrusted: Sequence[str]


def _load(connection: Connection) -> _LoadedKeys:
    rows = connection.execute(select(LINK_KEY)).all()
    return _LoadedKeys(
        trusted={
            row.key_id: Ed25519PublicKey.from_public_bytes(base64url_decode(row.public_key))
            for row in rows
            if row.is_trusted
        },
        untrusted=sorted({row.key_id for row in rows if not row.is_trusted}),
    )


def _verified(link: str, purpose: Purpose, keys: Mapping[str, Ed25519PublicKey]) -> str:
    """The link's subject. Raises jwt.InvalidTokenError."""
    if len(link) > MAX_LENGTH:
        raise jwt.InvalidTokenError("too long")
    key = keys.get(str(jwt.get_unverified_header(link).get("kid")))
    if key is None:
        raise jwt.InvalidTokenError("signed with an unknown key")
    claims = jwt.decode(
        link,
        key,
        algorithms=[ALGORITHM],
        issuer=ISSUER,
        audience=_audience(purpose),
        options={"require": ["exp", "sub", "iss", "aud"], "strict_aud": True},
    )
    return str(claims["sub"])


def _audience(purpose: Purpose) -> str:
    """Never that of access tokens, and another one for each purpose."""
    return f"quadrille:link:{purpose}"
