"""The private keys that access tokens are signed with. They never become events."""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import Column, Connection, Table, Text, select, update

from order_service.tables import METADATA
from shared.chassis.storage.database import Rows, UtcTime, insert_all, read_rows

PRIVATE_KEYS = Table(
    "private_keys",
    METADATA,
    Column("key_id", Text, primary_key=True),
    Column("private_key", Text, nullable=False, comment="Ed25519, PKCS 8 in PEM"),
    Column("created_at", UtcTime, nullable=False),
    Column("signs_from", UtcTime, nullable=False, comment="the other services know it by then"),
)


class PrivateKey(Struct, frozen=True, kw_only=True):
    """A row of `private_keys`."""

    key_id: str
    private_key: str
    created_at: datetime
    signs_from: datetime


def read_all(connection: Connection) -> list[PrivateKey]:
    """Oldest first."""
    query = select(PRIVATE_KEYS).order_by(PRIVATE_KEYS.c.created_at, PRIVATE_KEYS.c.key_id)
    rows: Rows = read_rows(connection, PRIVATE_KEYS, query)
    return [PrivateKey(**row) for row in rows]


def add(connection: Connection, key: PrivateKey) -> None:
    insert_all(
        connection, PRIVATE_KEYS, [{name: getattr(key, name) for name in key.__struct_fields__}]
    )


def sign_from(connection: Connection, key_id: str, moment: datetime) -> None:
    """Let the key sign from this moment on."""
    connection.execute(
        update(PRIVATE_KEYS).where(PRIVATE_KEYS.c.key_id == key_id).values(signs_from=moment)
    )


def delete_all(connection: Connection) -> None:
    connection.execute(PRIVATE_KEYS.delete())
