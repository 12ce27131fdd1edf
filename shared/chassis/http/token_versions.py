"""Which access tokens are revoked before they expire: those whose version is below that of their user.

A row is needed only as long as a revoked token could still be valid, so the table stays small: it contains the users
whose tokens were revoked within the last hour.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import Column, Connection, Index, Integer, Table, Text, select

from shared.chassis.messages import clock
from shared.chassis.messages.identity_events import TokensRevoked
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, select_in, upsert

MAX_TOKEN_SECONDS = 3600
"""A token with a longer validity is refused, even if its signature is valid."""
RETENTION = timedelta(seconds=2 * MAX_TOKEN_SECONDS)
"""Longer than a token is valid, with room for clocks that differ."""

TOKEN_VERSION = Table(
    "token_version",
    CHASSIS_METADATA,
    Column("user_id", Text, primary_key=True),
    Column("version", Integer, nullable=False, comment="the lowest that is accepted"),
    Column("received_at", UtcTime, nullable=False),
)
Index("token_version_age", TOKEN_VERSION.c.received_at)

_VERSIONS = select(TOKEN_VERSION.c.user_id, TOKEN_VERSION.c.version)


def keep(connection: Connection, received: Sequence[RecordedEvent]) -> None:
    """Store the versions among the events. They may arrive in any order and more than once: the highest counts."""
    versions: dict[str, int] = {}
    for recorded in received:
        if isinstance(event := recorded.event, TokensRevoked):
            versions[event.user_id] = max(event.token_version, versions.get(event.user_id, 0))
    for row in select_in(connection, TOKEN_VERSION, "user_id", list(versions)):
        if row["version"] >= versions[row["user_id"]]:
            del versions[row["user_id"]]
    now = clock.now()
    rows = [
        {"user_id": user_id, "version": version, "received_at": now}
        for user_id, version in versions.items()
    ]
    upsert(connection, TOKEN_VERSION, rows)


def load(connection: Connection) -> Mapping[str, int]:
    """The lowest version that is accepted, by user id; of a user who is missing, every version."""
    return {row.user_id: row.version for row in connection.execute(_VERSIONS)}
