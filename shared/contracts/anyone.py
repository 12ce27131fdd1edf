"""What any service may say of an event it could not handle."""

from typing import ClassVar

from shared.contracts.event import Error, Event, EventId, Id, Word


class EventDeadLettered(Event, frozen=True, kw_only=True):
    """The event was given up and kept; later events of the same key wait behind it.

    Of a message that could not be read there is no `event_type`, `event_id` is a digest of it, and `key`
    is what its subject claims, or `unknown`.
    """

    KEY: ClassVar[str] = "key"

    event_id: EventId
    event_type: Word | None = None
    key: Id
    error: Error


class EventRedriven(Event, frozen=True, kw_only=True):
    """A dead-lettered event went through after all."""

    KEY: ClassVar[str] = "key"

    event_id: EventId
    event_type: Word
    key: Id
