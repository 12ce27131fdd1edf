"""An event with its place and its cause, and its CloudEvents form on the wire."""

import re
from datetime import datetime
from functools import cache
from typing import Annotated, Any, NamedTuple

import msgspec

from shared.chassis.messages.event import Event, EventId, Id, Label
from shared.chassis.messages.subjects import subject_of
from shared.chassis.messages.upcasters import upcast
from shared.contracts import EVENT_TYPES, PUBLISHERS, SOURCES

CONTENT_TYPE = "application/cloudevents+json"
MAX_EVENT_BYTES = 64 * 1024
"""A longer message is not read, and a longer event is not recorded."""

Traceparent = Annotated[
    str,
    msgspec.Meta(
        max_length=55, pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$(?!\n)"
    ),
]


class DecodeError(Exception):
    """The message is not an event we know, and says why."""


class EventTooLarge(Exception):
    """The event does not fit into a message."""


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as its emitter's log holds it: (source, position) is its place, event_id its identity."""

    event_id: str
    source: str
    position: int
    event: Event
    recorded_at: datetime
    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None

    @property
    def event_type(self) -> str:
        """The event's name, as the contract spells it."""
        return type(self.event).__name__

    @property
    def key(self) -> str:
        """The entity the event is about: events of one key keep their order."""
        return self.event.entity_id

    @property
    def subject(self) -> str:
        """Where it travels."""
        return subject_of(self.source, self.key, self.event_type)


class LogPosition(NamedTuple):
    """Which event it is, and where it is in its publisher's log."""

    source: str
    position: int
    event_id: str


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """CloudEvents 1.0, structured mode; attribute names are the standard's."""

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
    dataschema: Annotated[str, msgspec.Meta(max_length=128)]
    data: msgspec.Raw


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as a row of the log holds it: its data may be of a type or version that this release cannot decode."""

    event_id: str
    source: str
    position: int
    event_type: str
    schema_version: int
    entity_id: str
    data: bytes
    recorded_at: datetime
    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None

    @property
    def subject(self) -> str:
        """Where it travels."""
        return subject_of(self.source, self.entity_id, self.event_type)


def encode(recorded: RecordedEvent) -> bytes:
    """The one line of JSON that travels."""
    return encode_stored(
        StoredEvent(
            event_id=recorded.event_id,
            source=recorded.source,
            position=recorded.position,
            event_type=recorded.event_type,
            schema_version=recorded.event.SCHEMA_VERSION,
            entity_id=recorded.key,
            data=msgspec.json.encode(recorded.event),
            recorded_at=recorded.recorded_at,
            correlation_id=recorded.correlation_id,
            causation_id=recorded.causation_id,
            traceparent=recorded.traceparent,
        )
    )


def encode_stored(stored: StoredEvent) -> bytes:
    """The same line of JSON, without decoding the data."""
    return msgspec.json.encode(
        CloudEvent(
            specversion="1.0",
            id=stored.event_id,
            source=stored.source,
            type=stored.event_type,
            subject=stored.entity_id,
            time=stored.recorded_at,
            sequence=f"{stored.position:012d}",
            correlationid=stored.correlation_id,
            causationid=stored.causation_id,
            traceparent=stored.traceparent,
            dataschema=_schema(stored.event_type, stored.schema_version),
            data=msgspec.Raw(stored.data),
        )
    )


def check(recorded: RecordedEvent) -> None:
    """Make sure that every consumer can read the event.

    Raises EventTooLarge, or DecodeError for an event that exceeds a bound of its contract.
    """
    body = encode(recorded)
    if len(body) > MAX_EVENT_BYTES:
        message = f"{recorded.event_type} would have {len(body)} bytes, at most {MAX_EVENT_BYTES} are possible"
        raise EventTooLarge(message)
    decode(recorded.subject, body)


def decode(subject: str, body: bytes) -> RecordedEvent:
    """Read what `encode` wrote, or what an older version of it wrote.

    Raises DecodeError when the body is too long or no CloudEvent, names an unknown type or version, does not fit
    its schema, or travels under a subject that is not its own (an emitter may speak for itself only).
    """
    if len(body) > MAX_EVENT_BYTES:
        message = f"{len(body)} bytes are more than the {MAX_EVENT_BYTES} of an event"
        raise DecodeError(message)
    try:
        envelope = _read_envelope(body)
        recorded = RecordedEvent(
            event_id=envelope.id,
            source=envelope.source,
            position=int(envelope.sequence),
            event=decode_data(envelope.type, _version(envelope.dataschema), envelope.data),
            recorded_at=envelope.time,
            correlation_id=envelope.correlationid,
            causation_id=envelope.causationid,
            traceparent=envelope.traceparent,
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(str(error)) from error
    if not _may_publish(recorded.source, type(recorded.event)):
        message = f"{recorded.event_type} is not for {recorded.source} to say"
        raise DecodeError(message)
    if recorded.subject != subject:
        message = f"came as {subject} but says it is {recorded.subject}"
        raise DecodeError(message)
    return recorded


def read_position(subject: str, body: bytes) -> LogPosition | None:
    """The position of an event whose data cannot be read, as of a type or schema version newer than this release.

    None unless the envelope is complete, and its subject, source, type and schema agree with each other.
    """
    if len(body) > MAX_EVENT_BYTES:
        return None
    try:
        envelope = _read_envelope(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    schema = _SCHEMA.fullmatch(envelope.dataschema)
    is_consistent = (
        envelope.specversion == "1.0"
        and schema is not None
        and schema[1] == envelope.type
        and _may_publish(envelope.source, EVENT_TYPES.get(envelope.type))
        and subject == subject_of(envelope.source, envelope.subject, envelope.type)
    )
    if not is_consistent:
        return None
    return LogPosition(envelope.source, int(envelope.sequence), envelope.id)


def decode_data(event_type: str, version: int, data: msgspec.Raw | bytes | str) -> Event:
    """The event in `data`, lifted to its present schema version.

    Raises DecodeError for a type or version we do not know, msgspec.ValidationError for a bad shape.
    """
    known = EVENT_TYPES.get(event_type)
    if known is None:
        message = f"unknown event type {event_type!r}"
        raise DecodeError(message)
    if version == known.SCHEMA_VERSION:
        return _decoder(known).decode(data)
    try:
        raw: dict[str, Any] = msgspec.json.decode(data)
        return msgspec.convert(upcast(event_type, version, raw, known.SCHEMA_VERSION), known)
    except KeyError as error:
        message = f"unknown schema version {version} of {event_type}"
        raise DecodeError(message) from error


_read_envelope = msgspec.json.Decoder(CloudEvent).decode
_SCHEMA = re.compile(r"urn:quadrille:event:([A-Z][A-Za-z0-9]{0,63}):[1-9][0-9]{0,8}")


def _may_publish(source: str, event_type: type[Event] | None) -> bool:
    """Whether it is one of our services, and the event its own, or one that every service publishes."""
    publisher = PUBLISHERS.get(event_type, source) if event_type else source
    return source == publisher and source in SOURCES


@cache
def _decoder(event_type: type[Event]) -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(event_type)


def _schema(event_type: str, version: int) -> str:
    return f"urn:quadrille:event:{event_type}:{version}"


def _version(dataschema: str) -> int:
    return int(dataschema.rpartition(":")[2])
