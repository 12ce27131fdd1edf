"""What mails there are, and which event owes which: at most one each."""

from enum import StrEnum
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from msgspec import Struct
from msgspec.structs import replace

from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
    FailedItem,
    NotificationId,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    OrderId,
    ShipmentInitiated,
)

MAILED_EVENTS = (OrderCreated, ShipmentInitiated, OrderCompleted, OrderCancelled, OrderFailed)

NOTIFICATIONS = uuid5(NAMESPACE_URL, "urn:quadrille:notification")


class Template(StrEnum):
    """What a mail says."""

    CONFIRMATION = "confirmation"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Mail(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A mail that an event owes to the order's customer, with what the event alone knows."""

    notification_id: NotificationId
    event_id: str
    order_id: OrderId
    template: Template
    tracking_number: str | None = None
    reason: str | None = None
    failed_items: tuple[FailedItem, ...] = ()
    resend_of: str | None = None
    """The notification that it repeats on request."""


def mail_for(heard: RecordedEvent) -> Mail:
    """The mail that one of the `MAILED_EVENTS` events owes."""
    match heard.event:
        case OrderCreated():
            return _mail(heard, Template.CONFIRMATION)
        case ShipmentInitiated():
            return _mail(heard, Template.DISPATCHED)
        case OrderCompleted(tracking_number=number):
            return _mail(heard, Template.DELIVERED, tracking_number=number)
        case OrderCancelled(reason=reason, failed_items=items):
            return _mail(heard, Template.CANCELLED, reason=reason, failed_items=items)
        case OrderFailed():
            return _mail(heard, Template.FAILED)
        case _:
            message = f"{heard.event_type} owes no mail"
            raise LookupError(message)


def again(mail: Mail, notification_id: str) -> Mail:
    """The same once more, under an id of its own."""
    return replace(mail, notification_id=notification_id, resend_of=mail.notification_id)


def _mail(heard: RecordedEvent, template: Template, **details: Any) -> Mail:  # noqa: ANN401 - Mail's fields
    return Mail(
        notification_id=str(uuid5(NOTIFICATIONS, f"{heard.event_id}/{template}")),
        event_id=heard.event_id,
        order_id=heard.entity_id,
        template=template,
        **details,
    )
