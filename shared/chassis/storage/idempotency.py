"""Responses stored under the caller's `Idempotency-Key`, in the transaction of the command that they answer."""

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
"""All guests share one namespace, whatever their address: only unguessable keys keep their requests apart."""
GUESTS = "guest"


class IdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's key for one request, with the fingerprint of the request's content."""

    name: str
    """The caller and the key, on a line each, because two callers may use the same key."""
    fingerprint: str

    @property
    def key(self) -> str:
        """The key as the caller sent it."""
        return self.name.partition("\n")[2]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP answer to a command."""

    status: int
    body: bytes
    location: str | None = None
    etag: str | None = None
    """Not stored: what it names may have changed when the answer is repeated."""
    replayed: bool = False


class StoredResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier response, and the fingerprint of the request that it answered."""

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
    Column("stored_at", UtcTime, nullable=False),
)
Index("idempotency_key_age", IDEMPOTENCY_KEY.c.stored_at)

_STORED = select(IDEMPOTENCY_KEY).where(any_of(IDEMPOTENCY_KEY.c.name, "names"))


def find_responses(
    connection: Connection, keys: Sequence[IdempotencyKey]
) -> dict[str, StoredResponse]:
    """The responses stored under these keys, by `IdempotencyKey.name`."""
    if not keys:
        return {}
    rows = connection.execute(_STORED, {"names": [key.name for key in keys]})
    return {
        row.name: StoredResponse(
            fingerprint=row.fingerprint,
            reply=Reply(status=row.status, body=row.body, location=row.location, replayed=True),
        )
        for row in rows
    }


def has_response(connection: Connection, name: str) -> bool:
    return connection.execute(_STORED, {"names": [name]}).first() is not None


def store_responses(
    connection: Connection, responses: Sequence[tuple[IdempotencyKey, Reply]], at: datetime
) -> None:
    """Store the responses, to be sent again when a key is repeated."""
    rows = [
        {
            "name": key.name,
            "fingerprint": key.fingerprint,
            "status": reply.status,
            "body": reply.body,
            "location": reply.location,
            "stored_at": at,
        }
        for key, reply in responses
    ]
    insert_all(connection, IDEMPOTENCY_KEY, rows)
