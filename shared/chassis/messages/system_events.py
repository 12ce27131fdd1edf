"""Events that every service may publish about an event that it could not handle."""

from typing import ClassVar

from shared.chassis.messages.event import Error, Event, EventId, Id, Label


class EventDeadLettered(Event, frozen=True, kw_only=True):
    """The event was given up and kept; later events of the same entity wait behind it.

    If the message could not be read, `event_type` is absent, `event_id` is a digest of it, and `key` is
    the entity id of its subject, or `unknown`.
    """

    ENTITY: ClassVar[str] = "key"

    event_id: EventId
    event_type: Label | None = None
    key: Id
    error: Error


class EventRedriven(Event, frozen=True, kw_only=True):
    """A dead-lettered event was handled after all."""

    ENTITY: ClassVar[str] = "key"

    event_id: EventId
    event_type: Label
    key: Id


class EventDiscarded(Event, frozen=True, kw_only=True):
    """An operator decided that a dead-lettered event is never handled; the later events of its entity are.

    `event_type` is absent, and `event_id` and `key` are as in EventDeadLettered, if the message could not be read.
    """

    ENTITY: ClassVar[str] = "key"

    event_id: EventId
    event_type: Label | None = None
    key: Id
    reason: Error


SYSTEM = (EventDeadLettered, EventRedriven, EventDiscarded)
