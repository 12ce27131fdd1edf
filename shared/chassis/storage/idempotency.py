"""Answers kept under the caller's `Idempotency-Key`, in the transaction of the command they answer."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    select,
)

from shared.chassis.storage.database import CHASSIS_METADATA, UtcTime, insert_all
from shared.chassis.storage.sql import any_of

RETENTION_HOURS = 24
MAX_KEY_LENGTH = 255
MIN_GUEST_KEY_LENGTH = 16
"""All guests share one namespace, wherever they are: what keeps their requests apart is that keys cannot be guessed."""
GUESTS = "guest"


class IdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's key for one request, whose content `fingerprint` stands for."""

    name: str
    """The caller and the key, on a line each: two callers may use the same key."""
    fingerprint: str

    @property
    def key(self) -> str:
        """As the caller sent it."""
        return self.name.partition("\n")[2]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP answer to a command."""

    status: int
    body: bytes
    location: str | None = None
    replayed: bool = False


class StoredResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An answer given before, and to what."""

    fingerprint: str
    reply: Reply


IDEMPOTENCY_KEY = Table(
    "idempotency_key",
    CHASSIS_METADATA,
    Column("name", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("location", Text),
    Column("kept_at", UtcTime, nullable=False),
)
Index("idempotency_key_age", IDEMPOTENCY_KEY.c.kept_at)

_KEPT = select(IDEMPOTENCY_KEY).where(any_of(IDEMPOTENCY_KEY.c.name, "names"))


def kept(connection: Connection, claims: Sequence[IdempotencyKey]) -> dict[str, StoredResponse]:
    """What was answered under these keys, by `IdempotencyKey.name`."""
    if not claims:
        return {}
    rows = connection.execute(_KEPT, {"names": [claim.name for claim in claims]})
    return {
        row.name: StoredResponse(
            fingerprint=row.fingerprint,
            reply=Reply(status=row.status, body=row.body, location=row.location, replayed=True),
        )
        for row in rows
    }


def is_kept(connection: Connection, name: str) -> bool:
    """Whether there is an answer under this name."""
    return connection.execute(_KEPT, {"names": [name]}).first() is not None


def keep(
    connection: Connection, answers: Sequence[tuple[IdempotencyKey, Reply]], at: datetime
) -> None:
    """Keep these for the next time the key comes."""
    rows = [
        {
            "name": claim.name,
            "fingerprint": claim.fingerprint,
            "status": reply.status,
            "body": reply.body,
            "location": reply.location,
            "kept_at": at,
        }
        for claim, reply in answers
    ]
    insert_all(connection, IDEMPOTENCY_KEY, rows)
