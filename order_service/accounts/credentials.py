"""Argon2id hashes of passwords, which never become events."""

from sqlalchemy import Column, Connection, Table, Text

from order_service.tables import METADATA
from shared.chassis.storage.database import select_in, upsert

CREDENTIALS = Table(
    "credentials",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("password_hash", Text, nullable=False),
)


def password_hash(connection: Connection, user_id: str) -> str | None:
    rows = select_in(connection, CREDENTIALS, "user_id", [user_id])
    return rows[0]["password_hash"] if rows else None


def set_password(connection: Connection, user_id: str, password_hash: str) -> None:
    upsert(connection, CREDENTIALS, [{"user_id": user_id, "password_hash": password_hash}])
