"""What the notifier says of the mails it owes."""

from typing import Annotated, ClassVar

import msgspec

from shared.contracts.event import Error, Event, EventId, Id, Word

MaskedEmail = Annotated[str, msgspec.Meta(max_length=300)]


class NotificationSent(Event, frozen=True, kw_only=True):
    """The mail server took the mail. `recipient` is masked: `j***@example.com`."""

    KEY: ClassVar[str] = "order_id"

    notification_id: Id
    order_id: Id
    event_id: EventId | None = None
    resend_of: Id | None = None
    """The notification that this one repeats."""
    template: Word
    recipient: MaskedEmail


class NotificationFailed(Event, frozen=True, kw_only=True):
    """The mail was given up after a day of trying, or refused for good."""

    KEY: ClassVar[str] = "order_id"

    notification_id: Id
    order_id: Id
    event_id: EventId | None = None
    resend_of: Id | None = None
    """The notification that this one repeats."""
    template: Word
    recipient: MaskedEmail
    error: Error


class NotificationSkipped(Event, frozen=True, kw_only=True):
    """Nobody to write to: neither the order nor its customer has an address."""

    KEY: ClassVar[str] = "order_id"

    notification_id: Id
    order_id: Id
    event_id: EventId | None = None
    resend_of: Id | None = None
    """The notification that this one repeats."""
    template: Word


class NotificationResendRequested(Event, frozen=True, kw_only=True):
    """An admin wants the mail of `resend_of` sent again, as a mail of its own."""

    KEY: ClassVar[str] = "order_id"

    notification_id: Id
    order_id: Id
    event_id: EventId | None = None
    resend_of: Id
    template: Word
