"""Mails, as the notifier tells of them."""

from datetime import datetime

from msgspec.structs import replace

from read_api.models import Notification, NotificationStatus, ReadModels
from shared.contracts import NotificationFailed, NotificationSent, NotificationSkipped


def notified(
    view: ReadModels,
    event: NotificationSent | NotificationFailed | NotificationSkipped,
    at: datetime,
) -> Notification:
    """The mail, and what has become of it."""
    before = view.notifications.get(event.notification_id)
    told = Notification(
        notification_id=event.notification_id,
        order_id=event.order_id,
        resend_of=event.resend_of,
        template=event.template,
        status=NotificationStatus.SKIPPED,
        created_at=before.created_at if before else at,
        updated_at=at,
    )
    match event:
        case NotificationSent(recipient=recipient):
            return replace(told, status=NotificationStatus.SENT, recipient=recipient)
        case NotificationFailed(recipient=recipient, error=error):
            return replace(told, status=NotificationStatus.FAILED, recipient=recipient, error=error)
        case NotificationSkipped():
            return told
