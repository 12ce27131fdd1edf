"""The public keys heard of: what a service needs to check a token by itself."""

from collections.abc import Sequence

from sqlalchemy import Column, Connection, Table, Text

from shared.contracts import SigningKeyPublished
from shared.contracts.recorded import Recorded
from shared.database import CHASSIS, insert_missing, read_rows

SIGNING_KEY = Table(
    "signing_key",
    CHASSIS,
    Column("key_id", Text, primary_key=True),
    Column("public_key", Text, nullable=False, comment="Ed25519, base64url"),
)


def keep(connection: Connection, events: Sequence[Recorded]) -> None:
    """Keep the keys among these events."""
    published = [
        recorded.event for recorded in events if isinstance(recorded.event, SigningKeyPublished)
    ]
    rows = [{"key_id": key.key_id, "public_key": key.public_key} for key in published]
    insert_missing(connection, SIGNING_KEY, rows)


def known(connection: Connection) -> dict[str, str]:
    """Every public key by its id."""
    return {row["key_id"]: row["public_key"] for row in read_rows(connection, SIGNING_KEY)}
