"""The rules of notifying: an event owes at most one mail, and each mail owed is recorded once.

A mail may be sent again on request: that is another mail, with an outcome of its own.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Struct
from msgspec.structs import replace

from notifier_service.mails import Mail, again, mail_for
from shared.chassis.messages.event import MAX_ERROR_LENGTH, Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.touches import id_of
from shared.contracts import (
    CustomerRegistered,
    CustomerUpdated,
    NotificationFailed,
    NotificationId,
    NotificationResendRequested,
    NotificationSent,
    NotificationSkipped,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFailed,
    OrderItem,
    ShipmentInitiated,
)

CustomerRef = Annotated[str, id_of("customer")]
"""A customer's id, or the name that a guest gave: that names nobody, or a customer who is not asked."""
OriginalId = Annotated[str, id_of("notification", "mail")]
"""Of a mail that is sent again."""


class Status(StrEnum):
    """What became of a mail; PENDING is one that is to be sent again and has no outcome yet."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class Notification(Struct, frozen=True, kw_only=True):
    """A mail's one outcome, or the wait for it; `recipient` is masked, and None where nobody is known."""

    notification_id: str
    order_id: str
    event_id: str | None
    template: str
    status: Status
    recipient: str | None = None
    error: str | None = None
    resend_of: str | None = None
    position: int
    """Of the first event about it: the order of the log."""
    created_at: datetime


class KnownOrder(Struct, frozen=True, kw_only=True):
    """What mails need to know of an order, as OrderCreated told it."""

    order_id: str
    user_id: CustomerRef
    guest: bool
    email: str | None
    locale: str | None
    items: tuple[OrderItem, ...]
    total_amount: int
    currency: str
    shipping_address: dict[str, str] | None


class KnownCustomer(Struct, frozen=True, kw_only=True):
    """Where a customer's mails go, as the event at `position` of the order service's log told it."""

    user_id: str
    email: str
    locale: str | None
    position: int


class NotifierState(Struct, frozen=True, kw_only=True):
    """The part of the service's state that a batch touches."""

    notifications: Mapping[str, Notification] = {}
    mails: Mapping[str, Mail] = {}
    """Every mail owed, by notification id: it may be asked for again."""
    orders: Mapping[str, KnownOrder] = {}
    customers: Mapping[str, KnownCustomer] = {}


class OrderNotReceived(Exception):
    """What would say where a mail goes has not been heard; it may still be."""


class CustomerNotReceived(OrderNotReceived):
    """The customer of an order without an address is not known, and perhaps never will be."""


class RequestMail(Struct, frozen=True, kw_only=True):
    """An event was heard that owes a mail."""

    mail: Mail
    user_id: CustomerRef | None = None
    """The customer, if the event names them: an order that was not known before leads to nobody."""


class RecordSent(Struct, frozen=True, kw_only=True):
    """The mail server has taken it."""

    mail: Mail
    recipient: str


class RecordFailed(Struct, frozen=True, kw_only=True):
    """It can not be sent, or was tried for too long."""

    mail: Mail
    error: str


class RecordSkipped(Struct, frozen=True, kw_only=True):
    """There is nobody to send it to."""

    mail: Mail


class Resend(Struct, frozen=True, kw_only=True):
    """Somebody wants it again, under a new id."""

    notification_id: NotificationId
    resend_of: OriginalId


Outcome = RecordSent | RecordFailed | RecordSkipped
Command = RequestMail | Outcome | Resend


def masked(email: str) -> str:
    """The address as far as a log may show it: `j***@example.com`."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}***@{domain}"


def with_recipient(room: NotifierState, order_id: str) -> KnownOrder:
    """The order, with its customer's address and language where it names none; a guest has no others.

    Raises OrderNotReceived, or CustomerNotReceived.
    """
    order = room.orders.get(order_id)
    if order is None:
        raise OrderNotReceived(f"order {order_id} is not known yet")
    if order.guest:
        return order
    customer = room.customers.get(order.user_id)
    if customer:
        return replace(
            order,
            email=order.email or customer.email,
            locale=order.locale or customer.locale,
        )
    if not order.email:
        raise CustomerNotReceived(f"customer {order.user_id} is not known yet")
    return order


def decide(room: NotifierState, command: Command, *, sends: bool = True) -> list[Event]:
    """Record a mail's outcome, as soon as it is known; the first one counts.

    Without `sends`, a mail is as good as sent once its recipient is known.
    Raises Rejected, for Resend only: `unknown-notification`, `notification-pending`.
    """
    match command:
        case Resend():
            return _resend(room, command, sends)
        case _ if _is_settled(room, command.mail):
            return []
        case RequestMail(mail=mail):
            return _settle_at_once(room, mail, sends)
        case RecordSent(mail=mail, recipient=recipient):
            return [_sent(mail, recipient)]
        case RecordFailed(mail=mail, error=error):
            return [_failed(mail, _recipient(room, mail), error)]
        case RecordSkipped(mail=mail):
            return [_skipped(mail)]


def _is_settled(room: NotifierState, mail: Mail) -> bool:
    entry = room.notifications.get(mail.notification_id)
    return entry is not None and entry.status is not Status.PENDING


def _resend(room: NotifierState, command: Resend, sends: bool) -> list[Event]:
    original = room.notifications.get(command.resend_of)
    if original is None:
        raise unknown(command.resend_of)
    if original.status is Status.PENDING:
        raise Rejected("notification-pending", "it is being sent: wait for its outcome")
    mail = again(room.mails[command.resend_of], command.notification_id)
    requested = NotificationResendRequested(
        notification_id=command.notification_id,
        order_id=mail.order_id,
        event_id=mail.event_id,
        resend_of=command.resend_of,
        template=mail.template,
    )
    return [requested, *_settle_at_once(room, mail, sends)]


def unknown(notification_id: str) -> Rejected:
    """What is said of a notification that is not in the log."""
    detail = f"there is no notification {notification_id}"
    return Rejected("unknown-notification", detail)


def _settle_at_once(room: NotifierState, mail: Mail, sends: bool) -> list[Event]:
    try:
        order = with_recipient(room, mail.order_id)
    except OrderNotReceived:
        return []
    if not order.email:
        return [_skipped(mail)]
    return [] if sends else [_sent(mail, order.email)]


def _sent(mail: Mail, recipient: str) -> NotificationSent:
    return NotificationSent(
        notification_id=mail.notification_id,
        order_id=mail.order_id,
        event_id=mail.event_id,
        resend_of=mail.resend_of,
        template=mail.template,
        recipient=masked(recipient),
    )


def _failed(mail: Mail, recipient: str, error: str) -> NotificationFailed:
    return NotificationFailed(
        notification_id=mail.notification_id,
        order_id=mail.order_id,
        event_id=mail.event_id,
        resend_of=mail.resend_of,
        template=mail.template,
        recipient=recipient,
        error=error[:MAX_ERROR_LENGTH],
    )


def _skipped(mail: Mail) -> NotificationSkipped:
    return NotificationSkipped(
        notification_id=mail.notification_id,
        order_id=mail.order_id,
        event_id=mail.event_id,
        resend_of=mail.resend_of,
        template=mail.template,
    )


def _recipient(room: NotifierState, mail: Mail) -> str:
    """Empty for a mail given up before it was known where it goes."""
    try:
        order = with_recipient(room, mail.order_id)
    except OrderNotReceived:
        return ""
    return masked(order.email) if order.email else ""


def evolve(room: NotifierState, recorded: RecordedEvent) -> NotifierState:
    """The state after an event: one of ours, one that owes a mail, or news of a customer."""
    match recorded.event:
        case OrderCreated() as created:
            room = replace(room, orders={**room.orders, created.order_id: _known(created)})
            return _with_mail(room, mail_for(recorded))
        case ShipmentInitiated() | OrderCompleted() | OrderCancelled() | OrderFailed():
            return _with_mail(room, mail_for(recorded))
        case CustomerRegistered() | CustomerUpdated() as told:
            return _with_customer(room, told, recorded.position)
        case NotificationResendRequested() as requested:
            entry = _entry(room, recorded, requested, Status.PENDING)
            mail = again(room.mails[requested.resend_of], requested.notification_id)
            return _noted(_with_mail(room, mail), entry)
        case NotificationSent(recipient=recipient) as sent:
            entry = _entry(room, recorded, sent, Status.SENT)
            return _noted(room, replace(entry, recipient=recipient or None))
        case NotificationFailed(recipient=recipient, error=error) as failed:
            entry = _entry(room, recorded, failed, Status.FAILED)
            return _noted(room, replace(entry, recipient=recipient or None, error=error))
        case NotificationSkipped() as skipped:
            return _noted(room, _entry(room, recorded, skipped, Status.SKIPPED))
        case _:
            return room


def _known(created: OrderCreated) -> KnownOrder:
    return KnownOrder(
        order_id=created.order_id,
        user_id=created.user_id,
        guest=created.guest,
        email=created.email,
        locale=created.locale,
        items=created.items,
        total_amount=created.total_amount,
        currency=created.currency,
        shipping_address=created.shipping_address,
    )


def _with_mail(room: NotifierState, mail: Mail) -> NotifierState:
    return replace(room, mails={**room.mails, mail.notification_id: mail})


def _with_customer(
    room: NotifierState, told: CustomerRegistered | CustomerUpdated, position: int
) -> NotifierState:
    """News of a customer may come in any order: what was said last counts."""
    known = room.customers.get(told.user_id)
    if known and known.position > position:
        return room
    customer = KnownCustomer(
        user_id=told.user_id, email=told.email, locale=told.locale, position=position
    )
    return replace(room, customers={**room.customers, told.user_id: customer})


def _entry(
    room: NotifierState,
    recorded: RecordedEvent,
    event: NotificationResendRequested
    | NotificationSent
    | NotificationFailed
    | NotificationSkipped,
    status: Status,
) -> Notification:
    pending = room.notifications.get(event.notification_id)
    return Notification(
        notification_id=event.notification_id,
        order_id=event.order_id,
        event_id=event.event_id,
        template=event.template,
        status=status,
        resend_of=event.resend_of,
        position=pending.position if pending else recorded.position,
        created_at=pending.created_at if pending else recorded.recorded_at,
    )


def _noted(room: NotifierState, entry: Notification) -> NotifierState:
    return replace(room, notifications={**room.notifications, entry.notification_id: entry})
