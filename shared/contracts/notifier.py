"""Events of the notifier about the mails that it sends."""

from typing import Annotated, ClassVar, Literal

import msgspec

from shared.chassis.messages.event import Error, Event, EventId, Label
from shared.contracts.types import CustomerId, NotificationId, OrderId

SkipReason = Literal["NO_ADDRESS", "TOO_OLD"]
MaskedEmail = Annotated[str, msgspec.Meta(max_length=300)]


AccountSkipReason = Literal["TOO_OLD", "EXPIRED"]


class AccountMailEvent(Event, frozen=True, kw_only=True):
    """Published by the notifier about one mail to a customer about the account. `recipient` is masked."""

    SOURCE: ClassVar[str] = "notifier"
    ENTITY: ClassVar[str] = "user_id"

    user_id: CustomerId
    event_id: EventId
    """The event that the mail is about."""
    template: Label
    recipient: MaskedEmail


class AccountMailSent(AccountMailEvent, frozen=True, kw_only=True):
    """The mail server accepted the mail."""


class AccountMailFailed(AccountMailEvent, frozen=True, kw_only=True):
    """The mail was given up after a day of attempts, or the mail server rejected it permanently."""

    error: Error


class AccountMailSkipped(AccountMailEvent, frozen=True, kw_only=True):
    """No mail was sent: the event was received too late, or the link in it expired first."""

    reason: AccountSkipReason


class NotificationEvent(Event, frozen=True, kw_only=True):
    """Published by the notifier about one mail of an order."""

    SOURCE: ClassVar[str] = "notifier"
    ENTITY: ClassVar[str] = "order_id"

    notification_id: NotificationId
    order_id: OrderId
    event_id: EventId | None = None
    """The event that the mail is about."""
    resend_of: NotificationId | None = None
    """The notification that this one repeats."""
    template: Label


class NotificationSent(NotificationEvent, frozen=True, kw_only=True):
    """The mail server accepted the mail. `recipient` is masked: `j***@example.com`."""

    recipient: MaskedEmail


class NotificationFailed(NotificationEvent, frozen=True, kw_only=True):
    """The mail was given up after a day of attempts, or the mail server rejected it permanently."""

    recipient: MaskedEmail
    error: Error


class NotificationSkipped(NotificationEvent, frozen=True, kw_only=True):
    """No mail was sent: neither the order nor its customer has an address, or the event was received too late."""

    reason: SkipReason = "NO_ADDRESS"


class NotificationResendRequested(NotificationEvent, frozen=True, kw_only=True):
    """An admin asked to send the mail `resend_of` again, as a new mail."""

    resend_of: NotificationId
