"""What proves who somebody is: secrets, which never become events.

Passwords are kept as Argon2id hashes, refresh tokens as SHA-256 digests.
"""

import hashlib
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Boolean, Column, Connection, Index, Table, Text, delete, update

from order_service.store.tables import TABLES
from shared.database import UtcTime, insert_all, select_in, upsert

CREDENTIALS = Table(
    "credentials",
    TABLES,
    Column("user_id", Text, primary_key=True),
    Column("password_hash", Text, nullable=False),
)

REFRESH_TOKENS = Table(
    "refresh_tokens",
    TABLES,
    Column("digest", Text, primary_key=True),
    Column("family_id", Text, nullable=False, comment="all that one sign-in led to"),
    Column("user_id", Text, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("is_used", Boolean, nullable=False),
)
Index("refresh_tokens_of_family", REFRESH_TOKENS.c.family_id)
Index("refresh_tokens_of_user", REFRESH_TOKENS.c.user_id)


class RefreshToken(Struct, frozen=True, kw_only=True):
    """One link of a sign-in's chain: good for one refresh."""

    digest: str
    family_id: str
    user_id: str
    expires_at: datetime
    is_used: bool = False


def digest(token: str) -> str:
    """What is kept of a refresh token."""
    return hashlib.sha256(token.encode()).hexdigest()


def password_hash(connection: Connection, user_id: str) -> str | None:
    """The hash of the customer's password."""
    rows = select_in(connection, CREDENTIALS, "user_id", [user_id])
    return rows[0]["password_hash"] if rows else None


def set_password(connection: Connection, user_id: str, password_hash: str) -> None:
    """From now on this proves who he is."""
    upsert(connection, CREDENTIALS, [{"user_id": user_id, "password_hash": password_hash}])


def add_refresh_token(connection: Connection, token: RefreshToken) -> None:
    """Keep one that was just given out."""
    row = {name: getattr(token, name) for name in RefreshToken.__struct_fields__}
    insert_all(connection, REFRESH_TOKENS, [row])


def use_refresh_token(connection: Connection, token_digest: str) -> RefreshToken | None:
    """Take a token in, for good; returns it as it was before. Unknown, or revoked, is None."""
    rows = select_in(connection, REFRESH_TOKENS, "digest", [token_digest])
    if not rows:
        return None
    connection.execute(
        update(REFRESH_TOKENS).where(REFRESH_TOKENS.c.digest == token_digest).values(is_used=True)
    )
    return RefreshToken(**rows[0])


def end_family(connection: Connection, family_id: str) -> None:
    """Nothing that this sign-in led to is good any more."""
    connection.execute(delete(REFRESH_TOKENS).where(REFRESH_TOKENS.c.family_id == family_id))


def end_all_of(connection: Connection, user_id: str) -> None:
    """Every sign-in of the customer is over."""
    connection.execute(delete(REFRESH_TOKENS).where(REFRESH_TOKENS.c.user_id == user_id))


def forget_expired(connection: Connection, now: datetime) -> None:
    """Drop the tokens that no one can use any more."""
    connection.execute(delete(REFRESH_TOKENS).where(REFRESH_TOKENS.c.expires_at < now))
