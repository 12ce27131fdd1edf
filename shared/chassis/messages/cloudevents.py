"""Recorded events on the wire: CloudEvents 1.0 in structured mode, one line of JSON."""

import re
from datetime import datetime
from typing import Annotated

import msgspec

from shared.chassis.messages.actor import Actor
from shared.chassis.messages.catalog import Catalog, DecodeError, decoder
from shared.chassis.messages.event import EventId, Id, Label
from shared.chassis.messages.recorded_event import LogPosition, RecordedEvent, StoredEvent
from shared.chassis.messages.subjects import subject_of

CONTENT_TYPE = "application/cloudevents+json"
MAX_EVENT_BYTES = 64 * 1024
"""A longer message is not read, and a longer event is not recorded."""

MAX_ENVELOPE_BYTES = 2048
"""More than everything but the data takes: shorter data needs no exact check."""

Traceparent = Annotated[
    str,
    msgspec.Meta(
        max_length=55, pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$(?!\n)"
    ),
]


class EventTooLarge(Exception):
    """The event does not fit into a message."""


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The attribute names are the standard's."""

    specversion: Annotated[str, msgspec.Meta(max_length=8)]
    id: Id
    source: Annotated[str, msgspec.Meta(max_length=32, pattern=r"^[a-z_]+$(?!\n)")]
    type: Label
    subject: Id
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    sequence: Annotated[str, msgspec.Meta(max_length=18, pattern=r"^(?!0+$)[0-9]{12,18}$(?!\n)")]
    """The position in the source's log, from 1 on, zero-padded so that it also sorts as text."""
    correlationid: EventId
    causationid: EventId | None = None
    traceparent: Traceparent | None = None
    actor: Actor | None = None
    dataschema: Annotated[str, msgspec.Meta(max_length=128)]
    data: msgspec.Raw


def stored(recorded: RecordedEvent) -> StoredEvent:
    """The same event with encoded data."""
    return StoredEvent(
        event_id=recorded.event_id,
        source=recorded.source,
        position=recorded.position,
        event_type=recorded.event_type,
        schema_version=recorded.event.SCHEMA_VERSION,
        entity_id=recorded.entity_id,
        data=msgspec.json.encode(recorded.event),
        recorded_at=recorded.recorded_at,
        correlation_id=recorded.correlation_id,
        causation_id=recorded.causation_id,
        traceparent=recorded.traceparent,
        actor=recorded.actor,
    )


def encode(recorded: RecordedEvent) -> bytes:
    """The message that is published for the event."""
    return encode_stored(stored(recorded))


def encode_stored(event: StoredEvent) -> bytes:
    """The same message, without decoding the data."""
    return msgspec.json.encode(
        CloudEvent(
            specversion="1.0",
            id=event.event_id,
            source=event.source,
            type=event.event_type,
            subject=event.entity_id,
            time=event.recorded_at,
            sequence=f"{event.position:012d}",
            correlationid=event.correlation_id,
            causationid=event.causation_id,
            traceparent=event.traceparent,
            actor=event.actor,
            dataschema=schema_urn(event.event_type, event.schema_version),
            data=msgspec.Raw(event.data),
        )
    )


def schema_urn(event_type: str, version: int) -> str:
    """Every service serves the schema at `/contracts/events/<event_type>/<version>.json`."""
    return f"urn:quadrille:event:{event_type}:{version}"


def encode_checked(recorded: RecordedEvent) -> StoredEvent:
    """The event with encoded data, if every consumer can decode it.

    Raises EventTooLarge, or DecodeError for an event that exceeds a bound of its contract.
    """
    event = stored(recorded)
    if len(event.data) > MAX_EVENT_BYTES - MAX_ENVELOPE_BYTES:
        _check_size(event)
    try:
        decoder(type(recorded.event)).decode(event.data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(str(error)) from error
    return event


def _check_size(event: StoredEvent) -> None:
    size = len(encode_stored(event))
    if size > MAX_EVENT_BYTES:
        raise EventTooLarge(
            f"{event.event_type} would have {size} bytes, at most {MAX_EVENT_BYTES} are possible"
        )


def decode(
    subject: str, body: bytes, catalog: Catalog, *, keep_body: bool = False
) -> RecordedEvent:
    """Read a message of this release or an older one.

    Raises DecodeError if the body is too long or no CloudEvent, names an unknown type or version, does not fit its
    schema, or came under another subject than its own (a service may publish only its own events).
    """
    recorded = _decode(body, catalog, keep_body=keep_body)
    if recorded.subject != subject:
        raise DecodeError(f"was received as {subject} but is {recorded.subject}")
    return recorded


def decode_of(source: str, body: bytes, catalog: Catalog) -> RecordedEvent:
    """Read an event that `source` has sent without its subject. Raises DecodeError, as for another's event."""
    recorded = _decode(body, catalog, keep_body=True)
    if recorded.source != source:
        raise DecodeError(f"was received from {source} but is of {recorded.source}")
    return recorded


def claimed_subject(body: bytes) -> str:
    """The subject of an event whose data cannot be read. Raises DecodeError without a complete envelope."""
    envelope = _decode_envelope(body)
    return subject_of(envelope.source, envelope.subject, envelope.type)


def _decode(body: bytes, catalog: Catalog, *, keep_body: bool) -> RecordedEvent:
    envelope = _decode_envelope(body)
    try:
        recorded = RecordedEvent(
            event_id=envelope.id,
            source=envelope.source,
            position=int(envelope.sequence),
            event=catalog.decode(envelope.type, _version(envelope.dataschema), envelope.data),
            recorded_at=envelope.time,
            correlation_id=envelope.correlationid,
            causation_id=envelope.causationid,
            traceparent=envelope.traceparent,
            actor=envelope.actor,
            body=body if keep_body else None,
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(str(error)) from error
    if not catalog.may_publish(recorded.source, recorded.event_type):
        raise DecodeError(f"{recorded.source} may not publish {recorded.event_type}")
    return recorded


def _decode_envelope(body: bytes) -> CloudEvent:
    if len(body) > MAX_EVENT_BYTES:
        raise DecodeError(f"{len(body)} bytes are more than the {MAX_EVENT_BYTES} of an event")
    try:
        return _read_envelope(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(str(error)) from error


def decode_stored(subject: str, body: bytes, catalog: Catalog) -> StoredEvent:
    """Read a message without its data, which may be of a later release. Raises DecodeError as `decode` does."""
    envelope = _decode_envelope(body)
    try:
        event = StoredEvent(
            event_id=envelope.id,
            source=envelope.source,
            position=int(envelope.sequence),
            event_type=envelope.type,
            schema_version=_version(envelope.dataschema),
            entity_id=envelope.subject,
            data=bytes(envelope.data),
            recorded_at=envelope.time,
            correlation_id=envelope.correlationid,
            causation_id=envelope.causationid,
            traceparent=envelope.traceparent,
            actor=envelope.actor,
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(str(error)) from error
    if not catalog.may_publish(event.source, event.event_type):
        raise DecodeError(f"{event.source} may not publish {event.event_type}")
    if event.subject != subject:
        raise DecodeError(f"was received as {subject} but is {event.subject}")
    return event


def read_position(subject: str, body: bytes, catalog: Catalog) -> LogPosition | None:
    """The position of an event whose data cannot be read; None for a message that has none."""
    envelope = read_envelope(subject, body, catalog)
    if envelope is None:
        return None
    return LogPosition(envelope.source, int(envelope.sequence), envelope.id)


def read_envelope(subject: str, body: bytes, catalog: Catalog) -> CloudEvent | None:
    """The envelope of an event whose data may not be readable, as of a type or schema version of a later release.

    None unless it is complete, and its subject, source, type and schema agree with each other.
    """
    try:
        envelope = _decode_envelope(body)
    except DecodeError:
        return None
    schema = _SCHEMA.fullmatch(envelope.dataschema)
    is_consistent = (
        envelope.specversion == "1.0"
        and schema is not None
        and schema[1] == envelope.type
        and catalog.may_publish(envelope.source, envelope.type)
        and subject == subject_of(envelope.source, envelope.subject, envelope.type)
    )
    return envelope if is_consistent else None


def is_of_later_release(envelope: CloudEvent, catalog: Catalog) -> bool:
    """Whether the type is not in the catalog, or its schema version is later than the catalog's."""
    event_class = catalog.event_types.get(envelope.type)
    return event_class is None or _version(envelope.dataschema) > event_class.SCHEMA_VERSION


_read_envelope = msgspec.json.Decoder(CloudEvent).decode
_SCHEMA = re.compile(r"urn:quadrille:event:([A-Z][A-Za-z0-9]{0,63}):[1-9][0-9]{0,8}")


def _version(dataschema: str) -> int:
    return int(dataschema.rpartition(":")[2])
