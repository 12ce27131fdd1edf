"""What must hold in the shop at any moment, as a table of small questions to its database files.

What is merely on its way is no fault: a question about several services is put only to orders of which no event
is unheard, no work is due and nothing is given up.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from quadrille.audit import logs, mails, read_model_checks, sagas, stock, tables
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.violation import Mismatch, Violation


class Check(NamedTuple):
    """One question to the shop."""

    name: str
    says: str
    """What is the case where nothing is found."""
    look: Callable[[ShopSnapshot], Iterable[Mismatch]]


def run_checks(shop: ShopSnapshot) -> list[Violation]:
    """Put every question of `CHECKS`."""
    return [
        Violation(check.name, service, entity, str(expected), str(found))
        for check in CHECKS
        for service, entity, expected, found in check.look(shop)
    ]


CHECKS = (
    Check("positions", "every log runs from 1 without a hole", logs.positions),
    Check("versions", "so does the history of every entity", logs.versions),
    Check("words", "every event is its emitter's own, filed where it belongs", logs.words),
    Check("causes", "every event's cause was recorded, in the same story", logs.causes),
    Check("inbox_orphans", "nothing was heard that nobody said", logs.inbox_orphans),
    Check("rows", "every table is what the events make of it", tables.rows),
    Check("stock", "goods are neither lost nor made, and 0 ≤ reserved ≤ on hand", stock.stock),
    Check("goods", "what is held, shipped or released is what was ordered", stock.goods),
    Check("ends", "nothing is answered, begun or ended twice", sagas.ends),
    Check("deadlines", "every order has ended, or the clock watches it", sagas.deadlines),
    Check("bookings", "every shipment has ended, or its carrier is being asked", sagas.bookings),
    Check("agreement", "order, stock and shipment tell the same story", sagas.agreement),
    Check("mails", "every mail owed was sent, or is being sent", mails.mails),
    Check("copies", "the read API's log is a copy of the others", read_model_checks.copies),
    Check("views", "the read API's rows are what the logs make of them", read_model_checks.views),
)
