"""The kinds of mails, and the event that leads to each: at most one mail for an event."""

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
    ShipmentDispatched,
    ShipmentInitiated,
)
from shared.contracts.shipping import LOST, RETURNED

MAILED_EVENTS = (OrderCreated, ShipmentDispatched, OrderCompleted, OrderCancelled, OrderFailed)

NOTIFICATIONS = uuid5(NAMESPACE_URL, "urn:quadrille:notification")


class Template(StrEnum):
    CONFIRMATION = "confirmation"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Mail(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A mail to the order's customer, with the values that only its event contains."""

    notification_id: NotificationId
    event_id: str
    order_id: OrderId
    template: Template
    carrier: str | None = None
    tracking_number: str | None = None
    reason: str | None = None
    cancelled_by: str | None = None
    explanation: str | None = None
    """Why the shop cancelled the order, for the customer."""
    failed_items: tuple[FailedItem, ...] = ()
    resend_of: str | None = None
    """The notification that it repeats."""


def mail_for(recorded: RecordedEvent) -> Mail:
    """The mail of an event, which is one of the `MAILED_EVENTS`."""
    match recorded.event:
        case OrderCreated():
            return _mail(recorded, Template.CONFIRMATION)
        case ShipmentDispatched(carrier=carrier, tracking_number=number):
            return _mail(recorded, Template.DISPATCHED, carrier=carrier, tracking_number=number)
        case OrderCompleted(tracking_number=number):
            return _mail(recorded, Template.DELIVERED, tracking_number=number)
        case OrderCancelled() as cancelled:
            return _mail(
                recorded,
                Template.CANCELLED,
                reason=cancelled.reason,
                cancelled_by=cancelled.by,
                # Only the shop's words: what others wrote is not mailed.
                explanation=cancelled.explanation if cancelled.by == "SHOP" else None,
                failed_items=cancelled.failed_items,
            )
        case ShipmentInitiated():  # of an earlier release, which mailed before the dispatch
            return _mail(recorded, Template.DISPATCHED)
        case OrderFailed(reason=reason) if reason in {LOST, RETURNED}:
            return _mail(recorded, Template.FAILED, reason=reason)
        case OrderFailed():
            return _mail(recorded, Template.FAILED)
        case _:
            message = f"{recorded.event_type} leads to no mail"
            raise LookupError(message)


def again(mail: Mail, notification_id: str) -> Mail:
    """The same mail under a new id."""
    return replace(mail, notification_id=notification_id, resend_of=mail.notification_id)


def _mail(recorded: RecordedEvent, template: Template, **details: Any) -> Mail:  # noqa: ANN401 - Mail's fields
    return Mail(
        notification_id=str(uuid5(NOTIFICATIONS, f"{recorded.event_id}/{template}")),
        event_id=recorded.event_id,
        order_id=recorded.entity_id,
        template=template,
        **details,
    )
