"""Mails, from the events of the notifier."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from read_api.models import Notification, NotificationStatus
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import NotificationFailed, NotificationSent, NotificationSkipped

CONSUMES = (NotificationSent, NotificationFailed, NotificationSkipped)


class Notifications(Struct, frozen=True, kw_only=True):
    """By notification id."""

    notifications: Mapping[str, Notification] = {}


def evolve(state: Notifications, recorded: RecordedEvent) -> Notifications:
    """The notifications after one of the consumed events."""
    match recorded.event:
        case NotificationSent() | NotificationFailed() | NotificationSkipped() as event:
            previous = state.notifications.get(event.notification_id)
            notification = _notification(event, recorded.recorded_at, previous)
            return Notifications(
                notifications={**state.notifications, event.notification_id: notification}
            )
        case _:
            return state


def _notification(
    event: NotificationSent | NotificationFailed | NotificationSkipped,
    at: datetime,
    previous: Notification | None,
) -> Notification:
    notification = Notification(
        notification_id=event.notification_id,
        order_id=event.order_id,
        resend_of=event.resend_of,
        template=event.template,
        status=NotificationStatus.SKIPPED,
        created_at=previous.created_at if previous else at,
        updated_at=at,
    )
    match event:
        case NotificationSent(recipient=recipient):
            return replace(notification, status=NotificationStatus.SENT, recipient=recipient)
        case NotificationFailed(recipient=recipient, error=error):
            return replace(
                notification, status=NotificationStatus.FAILED, recipient=recipient, error=error
            )
        case NotificationSkipped():
            return notification
