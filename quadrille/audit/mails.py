"""What must hold of mails: each one owed, or asked for again, has its outcome or is still being sent."""

from collections.abc import Iterator

from notifier_service.domain import Status
from notifier_service.handlers import MAIL
from notifier_service.mails import MAILED_EVENTS, mail_for
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.violation import Mismatch


def mails(shop: ShopSnapshot) -> Iterator[Mismatch]:
    """No event that the notifier has heard is left without its mail, nor a mail that waits without its task."""
    service = shop.service("notifier")
    being_sent = {task.key for task in service.tasks if task.kind == MAIL}
    settled = service.state.notifications.keys() | being_sent
    for notification_id, entry in service.state.notifications.items():
        if entry.status is Status.PENDING and notification_id not in being_sent:
            yield Mismatch("notifier", f"notification {notification_id}", "PENDING: a task", "none")
    for recorded in shop.received(service):
        if isinstance(recorded.event, MAILED_EVENTS):
            mail = mail_for(recorded)
            if mail.notification_id not in settled:
                what = f"{mail.template} mail of {mail.order_id}"
                yield Mismatch("notifier", what, "an outcome, or a task", "none")
