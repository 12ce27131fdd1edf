"""Sessions: one row for each sign-in, regardless of how often its refresh token is exchanged."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Column, Connection, Index, LargeBinary, Table, Text, delete, select

from order_service.tables import METADATA
from shared.chassis.storage.database import UtcTime, select_in, upsert

MAX_PER_CUSTOMER = 100
"""A further sign-in ends the session that would expire first."""

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("session_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("token_digest", Text, nullable=False, comment="of the refresh token that is good"),
    Column("used_digest", Text, comment="of the refresh token before it"),
    Column("used_at", UtcTime),
    Column("sealed_answer", LargeBinary, comment="what it was exchanged for; it is itself the key"),
    Column("expires_at", UtcTime, nullable=False),
)
Index("sessions_of_user", SESSIONS.c.user_id, SESSIONS.c.expires_at)
Index("sessions_expiry", SESSIONS.c.expires_at)


class Session(Struct, frozen=True, kw_only=True):
    """One sign-in. Only SHA-256 digests of its last two refresh tokens are stored."""

    session_id: str
    user_id: str
    token_digest: str
    used_digest: str | None = None
    used_at: datetime | None = None
    sealed_answer: bytes | None = None
    expires_at: datetime


def find(connection: Connection, session_id: str) -> Session | None:
    """The session, unless it has ended; it may have expired."""
    rows = select_in(connection, SESSIONS, "session_id", [session_id])
    return Session(**rows[0]) if rows else None


def save(connection: Connection, session: Session) -> None:
    """Store it, and delete sessions of the customer beyond `MAX_PER_CUSTOMER`."""
    upsert(connection, SESSIONS, [asdict(session)])
    surplus = (
        select(SESSIONS.c.session_id)
        .where(SESSIONS.c.user_id == session.user_id)
        .order_by(SESSIONS.c.expires_at.desc())
        .offset(MAX_PER_CUSTOMER)
    )
    connection.execute(delete(SESSIONS).where(SESSIONS.c.session_id.in_(surplus)))


def end(connection: Connection, session_id: str) -> None:
    """End the session, so that its refresh token is rejected."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.session_id == session_id))


def end_all_of(connection: Connection, user_id: str) -> None:
    connection.execute(delete(SESSIONS).where(SESSIONS.c.user_id == user_id))


def end_all(connection: Connection) -> None:
    connection.execute(delete(SESSIONS))
