"""The tables of signing keys: what a service has received, which keys it trusts, and which were revoked."""

from collections.abc import Sequence

import structlog
from msgspec import convert
from msgspec.structs import asdict
from sqlalchemy import Boolean, Column, Connection, Table, Text

from shared.chassis.http.key_trust import (
    KeyRing,
    PublishedKey,
    Revocation,
    distrust,
    learn,
    objection,
)
from shared.chassis.messages.identity_events import SIGNING_KEYS
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import event_log
from shared.chassis.storage.database import CHASSIS_METADATA, read_rows, upsert

SIGNING_KEY = Table(
    "signing_key",
    CHASSIS_METADATA,
    Column("key_id", Text, primary_key=True),
    Column("public_key", Text, primary_key=True, comment="Ed25519, base64url"),
    Column("trust", Text, nullable=False, comment="TRUSTED, UNTRUSTED or REVOKED"),
    Column("vouched_by", Text),
    Column("signature", Text, comment="made with the key vouched_by"),
)

SIGNING_KEY_REVOCATION = Table(
    "signing_key_revocation",
    CHASSIS_METADATA,
    Column("key_id", Text, primary_key=True),
    Column("revoked_by", Text, primary_key=True),
    Column("signature", Text, nullable=False, comment="made with the key revoked_by"),
    Column("is_proven", Boolean, nullable=False, comment="false while revoked_by is not trusted"),
)

log = structlog.get_logger()


def keep(
    connection: Connection,
    source: str,
    received: Sequence[RecordedEvent],
    own: Sequence[RecordedEvent] = (),
) -> None:
    """Store the keys among the events that the service `source` has received or records in this transaction.

    An event received under the service's own name that is not in its log is forged.
    """
    key_events = [
        (recorded, recorded.event)
        for recorded in (*received, *own)
        if isinstance(recorded.event, SIGNING_KEYS)
    ]
    if not key_events:
        return
    returned = {recorded.event_id for recorded in received if recorded.source == source}
    forged = returned - event_log.recorded_among(connection, returned)
    ring = before = load(connection)
    for recorded, event in key_events:
        if recorded.event_id in forged:
            ring = distrust(ring, event)
            reason = "published under the name of this service, which has not recorded it"
            _log_error("signing_key.forged", recorded, reason)
        elif recorded.event_id not in returned:
            ring = learn(ring, event)
            if why_not := objection(ring, event):
                _log_error("signing_key.refused", recorded, why_not)
    _save(connection, before, ring)


def load(connection: Connection) -> KeyRing:
    """All stored keys and revocations."""
    keys = [convert(row, PublishedKey) for row in read_rows(connection, SIGNING_KEY)]
    rows = read_rows(connection, SIGNING_KEY_REVOCATION)
    revocations = [convert(row, Revocation) for row in rows]
    return KeyRing(
        keys={(key.key_id, key.public_key): key for key in keys},
        revocations={(row.key_id, row.revoked_by): row for row in revocations},
    )


def forget(connection: Connection) -> None:
    """Trust no key any more: the next first key that is received is pinned."""
    for table in (SIGNING_KEY, SIGNING_KEY_REVOCATION):
        connection.execute(table.delete())


def _log_error(log_event: str, recorded: RecordedEvent, reason: str) -> None:
    log.error(
        log_event,
        key_id=recorded.entity_id,
        event_type=recorded.event_type,
        event_id=recorded.event_id,
        reason=reason,
    )


def _save(connection: Connection, before: KeyRing, after: KeyRing) -> None:
    keys = [asdict(key) for pair, key in after.keys.items() if before.keys.get(pair) != key]
    upsert(connection, SIGNING_KEY, keys)
    revocations = [
        asdict(revocation)
        for pair, revocation in after.revocations.items()
        if before.revocations.get(pair) != revocation
    ]
    upsert(connection, SIGNING_KEY_REVOCATION, revocations)
