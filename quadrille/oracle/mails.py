"""What must hold of mails: each one owed has its outcome, or is still being sent."""

from collections.abc import Iterator

from notifier_service.domain import OWING, mail_owed
from notifier_service.handlers import MAIL
from quadrille.oracle.finding import Evidence
from quadrille.oracle.shop import Shop


def mails(shop: Shop) -> Iterator[Evidence]:
    """No event that the notifier has heard is left without its mail."""
    ledger = shop.ledger("notifier")
    settled = ledger.state.notifications.keys()
    settled |= {task.key for task in ledger.tasks if task.kind == MAIL}
    for recorded in shop.heard(ledger):
        if isinstance(recorded.event, OWING):
            mail = mail_owed(recorded)
            if mail.notification_id not in settled:
                what = f"{mail.template} mail of {mail.order_id}"
                yield Evidence("notifier", what, "an outcome, or a task", "none")
