"""What a service receives: an event that it can read, an event of a later release, or something else."""

import hashlib

import msgspec

from shared.chassis.messages.catalog import Catalog, DecodeError
from shared.chassis.messages.cloudevents import decode, is_of_later_release, read_envelope
from shared.chassis.messages.recorded_event import RecordedEvent


class MalformedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is not an event of the catalog."""

    subject: str
    body: bytes
    error: str

    @property
    def event_id(self) -> str:
        """Made of the content, so that a message that is delivered twice is kept once."""
        return f"sha256-{hashlib.sha256(self.subject.encode() + self.body).hexdigest()[:32]}"


class UnsupportedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a service of the shop, of a type or schema version that only a later release can read."""

    event_id: str
    event_type: str
    source: str
    position: int
    entity_id: str
    correlation_id: str
    traceparent: str | None
    subject: str
    body: bytes
    error: str


Message = RecordedEvent | UnsupportedEvent | MalformedMessage
"""A message that was received, decoded if it can be."""


def receive(subject: str, body: bytes, catalog: Catalog) -> Message:
    """The message as this release reads it; an event keeps its body."""
    try:
        return decode(subject, body, catalog, keep_body=True)
    except DecodeError as error:
        reason = str(error)
    envelope = read_envelope(subject, body, catalog)
    if envelope is None or not is_of_later_release(envelope, catalog):
        return MalformedMessage(subject=subject, body=body, error=reason)
    return UnsupportedEvent(
        event_id=envelope.id,
        event_type=envelope.type,
        source=envelope.source,
        position=int(envelope.sequence),
        entity_id=envelope.subject,
        correlation_id=envelope.correlationid,
        traceparent=envelope.traceparent,
        subject=subject,
        body=body,
        error=reason,
    )
