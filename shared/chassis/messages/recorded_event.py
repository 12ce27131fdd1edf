"""An event as the log of its publisher holds it, decoded or not."""

from datetime import datetime
from typing import NamedTuple

import msgspec

from shared.chassis.messages.event import Event
from shared.chassis.messages.subjects import subject_of


class LogPosition(NamedTuple):
    """An event's position in its publisher's log, and its id."""

    source: str
    position: int
    event_id: str


class EventMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """(source, position) is the event's place in its publisher's log, event_id its identity."""

    event_id: str
    source: str
    position: int
    recorded_at: datetime
    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None
    actor: str | None = None
    """Who caused it from outside (`actor.py`); None for an effect of another event, whose causes name the actor."""


class RecordedEvent(EventMetadata, frozen=True, kw_only=True):
    """An event that was decoded."""

    event: Event
    body: bytes | None = None
    """The message as it was received, with what this release does not read of it; None for an event from a log."""

    @property
    def event_type(self) -> str:
        return type(self.event).__name__

    @property
    def entity_id(self) -> str:
        """The entity that the event is about: events of one entity keep their order."""
        return self.event.entity_id

    @property
    def subject(self) -> str:
        return subject_of(self.source, self.entity_id, self.event_type)


class StoredEvent(EventMetadata, frozen=True, kw_only=True):
    """An event with encoded data, which may be of a type or version that this release cannot decode."""

    event_type: str
    schema_version: int
    entity_id: str
    data: bytes

    @property
    def subject(self) -> str:
        return subject_of(self.source, self.entity_id, self.event_type)
