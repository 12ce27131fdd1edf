"""The check that every mail is sent, was given up, or has a task."""

from collections.abc import Iterator

from notifier_service.domain import NotificationStatus
from notifier_service.handlers import MAIL
from notifier_service.mails import MAILED_EVENTS, mail_for
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.violation import Mismatch


def mails(shop: ShopSnapshot) -> Iterator[Mismatch]:
    service = shop.notifier
    with_task = {task.task_key for task in service.tasks if task.kind == MAIL}
    notifications = service.state.notifications
    for notification_id, notification in notifications.items():
        if notification.status is NotificationStatus.PENDING and notification_id not in with_task:
            entity = f"notification {notification_id}"
            yield Mismatch("notifier", entity, "a task while it is PENDING", "none")
    for recorded in shop.handled_by(service):
        if isinstance(recorded.event, MAILED_EVENTS):
            mail = mail_for(recorded)
            if mail.notification_id not in notifications.keys() | with_task:
                entity = f"{mail.template} mail of {mail.order_id}"
                yield Mismatch("notifier", entity, "a notification or a task", "none")
