"""The rules of notifying: an event owes at most one mail, and each mail owed is recorded once."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from msgspec import Struct
from msgspec.structs import replace

from shared.contracts import (
    Event,
    FailedItem,
    NotificationFailed,
    NotificationSent,
    NotificationSkipped,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    OrderItem,
    ShipmentInitiated,
)
from shared.contracts.recorded import Recorded

OWING = (OrderCreated, ShipmentInitiated, OrderCompleted, OrderCancelled, OrderFailed)

NOTIFICATIONS = uuid5(NAMESPACE_URL, "urn:quadrille:notification")


class Template(StrEnum):
    """What a mail says."""

    CONFIRMATION = "confirmation"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Status(StrEnum):
    """What became of a mail."""

    SENT = "SENT"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class Mail(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A mail that an event owes to the order's customer, with what the event alone knows."""

    notification_id: str
    event_id: str
    order_id: str
    template: Template
    tracking_number: str | None = None
    reason: str | None = None
    failed_items: tuple[FailedItem, ...] = ()


class Notification(Struct, frozen=True, kw_only=True):
    """A mail's one outcome; `recipient` is masked, and None where nobody was known."""

    notification_id: str
    order_id: str
    event_id: str | None
    template: str
    status: Status
    recipient: str | None = None
    error: str | None = None
    position: int
    """Of the event that recorded it: the order of the log."""
    created_at: datetime


class KnownOrder(Struct, frozen=True, kw_only=True):
    """What mails need to know of an order, as OrderCreated told it."""

    order_id: str
    email: str | None
    locale: str | None
    items: tuple[OrderItem, ...]
    total_amount: int
    currency: str
    shipping_address: dict[str, str] | None


class Mailroom(Struct, frozen=True, kw_only=True):
    """The part of the service's state that a batch touches."""

    notifications: Mapping[str, Notification] = {}
    orders: Mapping[str, KnownOrder] = {}


class Owe(Struct, frozen=True, kw_only=True):
    """An event was heard that owes a mail."""

    mail: Mail


class RecordSent(Struct, frozen=True, kw_only=True):
    """The mail server has taken it."""

    mail: Mail


class RecordFailed(Struct, frozen=True, kw_only=True):
    """It can not be sent, or was tried for too long."""

    mail: Mail
    error: str


class RecordSkipped(Struct, frozen=True, kw_only=True):
    """There is nobody to send it to."""

    mail: Mail


Command = Owe | RecordSent | RecordFailed | RecordSkipped


def mail_owed(heard: Recorded) -> Mail:
    """The mail that one of the `OWING` events owes."""
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


def _mail(heard: Recorded, template: Template, **details: Any) -> Mail:  # noqa: ANN401 - Mail's fields
    return Mail(
        notification_id=str(uuid5(NOTIFICATIONS, f"{heard.event_id}/{template}")),
        event_id=heard.event_id,
        order_id=heard.key,
        template=template,
        **details,
    )


def masked(email: str) -> str:
    """The address as far as a log may show it: `j***@example.com`."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}***@{domain}"


def decide(room: Mailroom, command: Command, *, sends: bool = True) -> list[Event]:
    """Record a mail's outcome, as soon as it is known; the first one counts.

    Without `sends`, a mail is as good as sent once its recipient is known.
    """
    mail = command.mail
    if mail.notification_id in room.notifications:
        return []
    match command:
        case Owe():
            return _settle_at_once(room, mail, sends)
        case RecordSent():
            return [_sent(room, mail)]
        case RecordFailed(error=error):
            return [
                NotificationFailed(
                    notification_id=mail.notification_id,
                    order_id=mail.order_id,
                    event_id=mail.event_id,
                    template=mail.template,
                    recipient=_recipient(room, mail),
                    error=error,
                )
            ]
        case RecordSkipped():
            return [_skipped(mail)]


def _settle_at_once(room: Mailroom, mail: Mail, sends: bool) -> list[Event]:
    order = room.orders.get(mail.order_id)
    if order is None:
        return []
    if not order.email:
        return [_skipped(mail)]
    return [] if sends else [_sent(room, mail)]


def _sent(room: Mailroom, mail: Mail) -> NotificationSent:
    return NotificationSent(
        notification_id=mail.notification_id,
        order_id=mail.order_id,
        event_id=mail.event_id,
        template=mail.template,
        recipient=_recipient(room, mail),
    )


def _skipped(mail: Mail) -> NotificationSkipped:
    return NotificationSkipped(
        notification_id=mail.notification_id,
        order_id=mail.order_id,
        event_id=mail.event_id,
        template=mail.template,
    )


def _recipient(room: Mailroom, mail: Mail) -> str:
    """Empty for an order that was never heard of, as a mail given up may be about."""
    order = room.orders.get(mail.order_id)
    return masked(order.email) if order and order.email else ""


def evolve(room: Mailroom, recorded: Recorded) -> Mailroom:
    """The state after an event: one of ours, or an order's beginning."""
    match recorded.event:
        case OrderCreated() as created:
            return replace(room, orders={**room.orders, created.order_id: _known(created)})
        case NotificationSent(recipient=recipient) as sent:
            return _noted(room, replace(_entry(recorded, sent), recipient=recipient or None))
        case NotificationFailed(recipient=recipient, error=error) as failed:
            entry = replace(
                _entry(recorded, failed),
                status=Status.FAILED,
                recipient=recipient or None,
                error=error,
            )
            return _noted(room, entry)
        case NotificationSkipped() as skipped:
            return _noted(room, replace(_entry(recorded, skipped), status=Status.SKIPPED))
        case _:
            return room


def _known(created: OrderCreated) -> KnownOrder:
    return KnownOrder(
        order_id=created.order_id,
        email=created.email,
        locale=created.locale,
        items=created.items,
        total_amount=created.total_amount,
        currency=created.currency,
        shipping_address=created.shipping_address,
    )


def _entry(
    recorded: Recorded, event: NotificationSent | NotificationFailed | NotificationSkipped
) -> Notification:
    return Notification(
        notification_id=event.notification_id,
        order_id=event.order_id,
        event_id=event.event_id,
        template=event.template,
        status=Status.SENT,
        position=recorded.position,
        created_at=recorded.recorded_at,
    )


def _noted(room: Mailroom, entry: Notification) -> Mailroom:
    return replace(room, notifications={**room.notifications, entry.notification_id: entry})
