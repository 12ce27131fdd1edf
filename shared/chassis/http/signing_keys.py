"""The public keys that a service has received, which of them it trusts, and which were revoked."""

from collections.abc import Sequence

import structlog
from msgspec import convert
from msgspec.structs import asdict
from sqlalchemy import Boolean, Column, Connection, Table, Text

from shared.chassis.engine.service_logic import RecordHook
from shared.chassis.http.key_trust import KeyRing, KnownKey, Revocation, distrust, learn, objection
from shared.chassis.messages.identity_events import IDENTITY
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


def concerns(events: Sequence[object]) -> bool:
    """Whether a signing key is among what these events are about."""
    return any(
        isinstance(each, RecordedEvent) and isinstance(each.event, IDENTITY) for each in events
    )


def hook(source: str) -> RecordHook:
    """Keeps the keys among the events that the service `source` consumes or records."""

    def keep_keys(
        connection: Connection, consumed: Sequence[RecordedEvent], own: Sequence[RecordedEvent]
    ) -> None:
        keep(connection, source, consumed, own)

    return keep_keys


def keep(
    connection: Connection,
    source: str,
    received: Sequence[RecordedEvent],
    own: Sequence[RecordedEvent] = (),
) -> None:
    """Learn of the keys among events that the service `source` has received, or records itself in this transaction.

    An event received under the service's own name that is not in its log is forged.
    """
    news = [(each, each.event) for each in (*received, *own) if isinstance(each.event, IDENTITY)]
    if not news:
        return
    returned = {each.event_id for each in received if each.source == source}
    forged = returned - event_log.recorded_among(connection, returned)
    ring = before = load(connection)
    for recorded, event in news:
        if recorded.event_id in forged:
            ring = distrust(ring, event)
            reason = "published under the name of this service, which has not recorded it"
            _log_error("signing_key.forged", recorded, reason)
        elif recorded.event_id not in returned:
            ring = learn(ring, event)
            if reason := objection(ring, event) or "":
                _log_error("signing_key.refused", recorded, reason)
    _save(connection, before, ring)


def load(connection: Connection) -> KeyRing:
    """Everything that is kept."""
    keys = [convert(row, KnownKey) for row in read_rows(connection, SIGNING_KEY)]
    rows = read_rows(connection, SIGNING_KEY_REVOCATION)
    revocations = [convert(row, Revocation) for row in rows]
    return KeyRing(
        keys={(key.key_id, key.public_key): key for key in keys},
        revocations={(each.key_id, each.revoked_by): each for each in revocations},
    )


def _log_error(what: str, recorded: RecordedEvent, reason: str) -> None:
    log.error(
        what,
        key_id=recorded.entity_id,
        event_type=recorded.event_type,
        event_id=recorded.event_id,
        reason=reason,
    )


def _save(connection: Connection, before: KeyRing, after: KeyRing) -> None:
    keys = [asdict(key) for place, key in after.keys.items() if before.keys.get(place) != key]
    upsert(connection, SIGNING_KEY, keys)
    revocations = [
        asdict(revocation)
        for place, revocation in after.revocations.items()
        if before.revocations.get(place) != revocation
    ]
    upsert(connection, SIGNING_KEY_REVOCATION, revocations)
