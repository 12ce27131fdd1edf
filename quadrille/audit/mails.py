"""What must hold of mails: each one owed, or asked for again, has its outcome or is still being sent."""

from collections.abc import Iterator

from notifier_service.domain import Status
from notifier_service.handlers import MAIL
from notifier_service.mails import MAILED_EVENTS, mail_for
from quadrille.audit.databases import Shop
from quadrille.audit.violation import Evidence


def mails(shop: Shop) -> Iterator[Evidence]:
    """No event that the notifier has heard is left without its mail, nor a mail that waits without its task."""
    ledger = shop.ledger("notifier")
    being_sent = {task.key for task in ledger.tasks if task.kind == MAIL}
    settled = ledger.state.notifications.keys() | being_sent
    for notification_id, entry in ledger.state.notifications.items():
        if entry.status is Status.PENDING and notification_id not in being_sent:
            yield Evidence("notifier", f"notification {notification_id}", "PENDING: a task", "none")
    for recorded in shop.heard(ledger):
        if isinstance(recorded.event, MAILED_EVENTS):
            mail = mail_for(recorded)
            if mail.notification_id not in settled:
                what = f"{mail.template} mail of {mail.order_id}"
                yield Evidence("notifier", what, "an outcome, or a task", "none")
