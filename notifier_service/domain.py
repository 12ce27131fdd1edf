"""The rules of notifying: an event leads to at most one mail, and each mail has one recorded outcome.

A mail that is sent again on request is another mail, with an outcome of its own.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from msgspec import Struct
from msgspec.structs import replace

from notifier_service import account_mails
from notifier_service.account_mails import AccountCommand, masked
from notifier_service.mails import Mail, again, mail_for
from shared.chassis.messages.event import MAX_ERROR_LENGTH, Event
from shared.chassis.messages.identity_events import LinkKeyPublished
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.touches import id_of
from shared.contracts import (
    Address,
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
    ShipmentDispatched,
    ShipmentInitiated,
)
from shared.contracts.notifier import SkipReason

CustomerRef = Annotated[str, id_of("customer")]
"""A customer's id, or the name that a guest gave, which identifies nobody."""
OriginalId = Annotated[str, id_of("notification", "mail")]
"""The id of a mail that is sent again."""


class NotificationStatus(StrEnum):
    """A mail's outcome; PENDING is a mail that is being sent again and has no outcome yet."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class Notification(Struct, frozen=True, kw_only=True):
    """A mail's outcome, or the wait for it; `recipient` is masked, and None if it is unknown."""

    notification_id: str
    order_id: str
    event_id: str | None
    template: str
    status: NotificationStatus
    recipient: str | None = None
    error: str | None = None
    skip_reason: str | None = None
    resend_of: str | None = None
    position: int
    """Of the first event about it, by which the log is sorted."""
    created_at: datetime


class KnownOrder(Struct, frozen=True, kw_only=True):
    """The part of an order that mails contain, from OrderCreated."""

    order_id: str
    user_id: CustomerRef
    guest: bool
    email: str | None
    locale: str | None
    items: tuple[OrderItem, ...]
    total_amount: int
    currency: str
    shipping_address: Address | None


class KnownCustomer(Struct, frozen=True, kw_only=True):
    """A customer's address, from the event at `position` of the order service's log."""

    user_id: str
    email: str
    locale: str | None
    position: int


class NotifierState(Struct, frozen=True, kw_only=True):
    """The part of the service's state that a transaction touches."""

    notifications: Mapping[str, Notification] = {}
    mails: Mapping[str, Mail] = {}
    """Every requested mail by notification id, because it may be sent again."""
    orders: Mapping[str, KnownOrder] = {}
    customers: Mapping[str, KnownCustomer] = {}


class OrderNotReceived(Exception):
    """The order has not been received yet, so the mail's recipient is unknown."""


class CustomerNotReceived(OrderNotReceived):
    """The order has no address and its customer has not been received, and perhaps never will be."""


class SettleMailAtOnce(Struct, frozen=True, kw_only=True):
    """Record the outcome of the mail that an event leads to, if nothing needs to be sent."""

    mail: Mail
    user_id: CustomerRef | None = None
    """The customer, if the event names one: the order is not stored yet, so it cannot lead to the customer."""
    age: timedelta = timedelta(0)
    """Of the event, when it is handled."""


class RecordSent(Struct, frozen=True, kw_only=True):
    """Record that the mail server accepted the mail."""

    mail: Mail
    recipient: str


class RecordFailed(Struct, frozen=True, kw_only=True):
    """Record that the mail cannot be sent, or that every attempt failed."""

    mail: Mail
    error: str


class RecordSkipped(Struct, frozen=True, kw_only=True):
    """Record that the mail has no recipient."""

    mail: Mail


class Resend(Struct, frozen=True, kw_only=True):
    """Send the mail again, under a new id."""

    notification_id: NotificationId
    resend_of: OriginalId


class PublishLinkKey(Struct, frozen=True, kw_only=True):
    """Publish the key that links in mails are signed with."""

    key_id: str
    public_key: str


MailOutcome = RecordSent | RecordFailed | RecordSkipped
Command = SettleMailAtOnce | MailOutcome | Resend | PublishLinkKey | AccountCommand


def with_recipient(state: NotifierState, order_id: str) -> KnownOrder:
    """The order; its customer's address and language replace missing ones, except for a guest.

    Raises OrderNotReceived, or CustomerNotReceived.
    """
    order = state.orders.get(order_id)
    if order is None:
        raise OrderNotReceived(f"order {order_id} has not been received yet")
    if order.guest:
        return order
    customer = state.customers.get(order.user_id)
    if customer:
        return replace(
            order,
            email=order.email or customer.email,
            locale=order.locale or customer.locale,
        )
    if not order.email:
        raise CustomerNotReceived(f"customer {order.user_id} has not been received yet")
    return order


def decide(
    state: NotifierState, command: Command, *, sends: bool = True, max_age: timedelta | None = None
) -> list[Event]:
    """The events of a command; the first outcome of a mail counts.

    Without `sends`, a mail counts as sent as soon as its recipient is known. An event older than `max_age` leads to no
    mail, as when it is replayed.
    Raises Rejected, for Resend only: `unknown-notification`, `notification-pending`.
    """
    match command:
        case _ if isinstance(command, AccountCommand):
            return account_mails.decide(command, sends=sends, max_age=max_age)
        case PublishLinkKey(key_id=key_id, public_key=public_key):
            return [LinkKeyPublished(key_id=key_id, public_key=public_key)]
        case Resend():
            return _resend(state, command, sends)
        case _ if _is_settled(state, command.mail):
            return []
        case SettleMailAtOnce(mail=mail, age=age) if max_age is not None and age > max_age:
            return [_skipped(mail, "TOO_OLD")]
        case SettleMailAtOnce(mail=mail):
            return _settle_at_once(state, mail, sends)
        case RecordSent(mail=mail, recipient=recipient):
            return [_sent(mail, recipient)]
        case RecordFailed(mail=mail, error=error):
            return [_failed(mail, _recipient(state, mail), error)]
        case RecordSkipped(mail=mail):
            return [_skipped(mail)]


def _is_settled(state: NotifierState, mail: Mail) -> bool:
    notification = state.notifications.get(mail.notification_id)
    return notification is not None and notification.status is not NotificationStatus.PENDING


def _resend(state: NotifierState, command: Resend, sends: bool) -> list[Event]:
    original = state.notifications.get(command.resend_of)
    if original is None:
        raise unknown(command.resend_of)
    if original.status is NotificationStatus.PENDING:
        raise Rejected("notification-pending", "it is being sent: wait for its outcome")
    mail = again(state.mails[command.resend_of], command.notification_id)
    requested = NotificationResendRequested(
        notification_id=command.notification_id,
        order_id=mail.order_id,
        event_id=mail.event_id,
        resend_of=command.resend_of,
        template=mail.template,
    )
    return [requested, *_settle_at_once(state, mail, sends)]


def unknown(notification_id: str) -> Rejected:
    """The rejection of a notification id that is not in the log."""
    detail = f"there is no notification {notification_id}"
    return Rejected("unknown-notification", detail)


def _settle_at_once(state: NotifierState, mail: Mail, sends: bool) -> list[Event]:
    try:
        order = with_recipient(state, mail.order_id)
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


def _skipped(mail: Mail, reason: SkipReason = "NO_ADDRESS") -> NotificationSkipped:
    return NotificationSkipped(
        notification_id=mail.notification_id,
        order_id=mail.order_id,
        event_id=mail.event_id,
        resend_of=mail.resend_of,
        template=mail.template,
        reason=reason,
    )


def _recipient(state: NotifierState, mail: Mail) -> str:
    """Masked; empty for a mail that was given up before its recipient was known."""
    try:
        order = with_recipient(state, mail.order_id)
    except OrderNotReceived:
        return ""
    return masked(order.email) if order.email else ""


def evolve(state: NotifierState, recorded: RecordedEvent) -> NotifierState:
    """The state after an event: a notification, one that leads to a mail, or a customer's data."""
    match recorded.event:
        case OrderCreated() as created:
            state = replace(state, orders={**state.orders, created.order_id: _known_order(created)})
            return _with_mail(state, mail_for(recorded))
        case ShipmentDispatched() | OrderCompleted() | OrderCancelled() | OrderFailed():
            return _with_mail(state, mail_for(recorded))
        case ShipmentInitiated():  # consumed by earlier releases only
            return _with_mail(state, mail_for(recorded))
        case CustomerRegistered() | CustomerUpdated() as event:
            return _with_customer(state, event, recorded.position)
        case NotificationResendRequested() as requested:
            notification = _notification(state, recorded, requested, NotificationStatus.PENDING)
            mail = again(state.mails[requested.resend_of], requested.notification_id)
            return _with_notification(_with_mail(state, mail), notification)
        case NotificationSent(recipient=recipient) as sent:
            notification = _notification(state, recorded, sent, NotificationStatus.SENT)
            return _with_notification(state, replace(notification, recipient=recipient or None))
        case NotificationFailed(recipient=recipient, error=error) as failed:
            notification = _notification(state, recorded, failed, NotificationStatus.FAILED)
            return _with_notification(
                state, replace(notification, recipient=recipient or None, error=error)
            )
        case NotificationSkipped(reason=reason) as skipped:
            notification = _notification(state, recorded, skipped, NotificationStatus.SKIPPED)
            return _with_notification(state, replace(notification, skip_reason=reason))
        case _:
            return state


def _known_order(created: OrderCreated) -> KnownOrder:
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


def _with_mail(state: NotifierState, mail: Mail) -> NotifierState:
    return replace(state, mails={**state.mails, mail.notification_id: mail})


def _with_customer(
    state: NotifierState, event: CustomerRegistered | CustomerUpdated, position: int
) -> NotifierState:
    """Events about a customer may arrive in any order: the one with the highest position counts."""
    previous = state.customers.get(event.user_id)
    if previous and previous.position > position:
        return state
    customer = KnownCustomer(
        user_id=event.user_id, email=event.email, locale=event.locale, position=position
    )
    return replace(state, customers={**state.customers, event.user_id: customer})


def _notification(
    state: NotifierState,
    recorded: RecordedEvent,
    event: NotificationResendRequested
    | NotificationSent
    | NotificationFailed
    | NotificationSkipped,
    status: NotificationStatus,
) -> Notification:
    pending = state.notifications.get(event.notification_id)
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


def _with_notification(state: NotifierState, notification: Notification) -> NotifierState:
    return replace(
        state, notifications={**state.notifications, notification.notification_id: notification}
    )
