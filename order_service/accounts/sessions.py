"""Sessions: one row for each sign-in, however often its refresh token is exchanged."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Column, Connection, Index, LargeBinary, Table, Text, delete, select

from order_service.tables import METADATA
from shared.chassis.storage.database import UtcTime, select_in, upsert

MAX_PER_CUSTOMER = 100
"""A sign-in beyond these ends the session that would have expired first."""

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
    """One sign-in. Of its refresh tokens only SHA-256 digests are kept, of the last two."""

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
    """Keep it as it is now, and no more than `MAX_PER_CUSTOMER` of its customer."""
    upsert(connection, SESSIONS, [asdict(session)])
    surplus = (
        select(SESSIONS.c.session_id)
        .where(SESSIONS.c.user_id == session.user_id)
        .order_by(SESSIONS.c.expires_at.desc())
        .offset(MAX_PER_CUSTOMER)
    )
    connection.execute(delete(SESSIONS).where(SESSIONS.c.session_id.in_(surplus)))


def end(connection: Connection, session_id: str) -> None:
    """Its refresh token is good no more."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.session_id == session_id))


def end_all_of(connection: Connection, user_id: str) -> None:
    """End every session of the customer."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.user_id == user_id))
