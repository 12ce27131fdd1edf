"""The invariants of the shop, each as one check of its databases.

A service may be behind the others at any time. So a check that compares services ignores the orders of which an event
is not yet handled, a task is due or an event is a dead letter.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from quadrille.audit import logs, mails, read_model_checks, sagas, stock, tables
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.violation import Mismatch, Violation


class Check(NamedTuple):
    """An invariant, and the function that finds where it does not hold."""

    name: str
    invariant: str
    find: Callable[[ShopSnapshot], Iterable[Mismatch]]


def run_checks(shop: ShopSnapshot) -> list[Violation]:
    """The violations of all invariants, in the order of `CHECKS`."""
    return [
        Violation(check.name, service, entity, str(expected), str(actual))
        for check in CHECKS
        for service, entity, expected, actual in check.find(shop)
    ]


CHECKS = (
    Check("positions", "every log runs from 1 without a gap", logs.positions),
    Check("versions", "the versions of every entity run from 1 without a gap", logs.versions),
    Check(
        "ownership", "every event is in the log of its publisher, with a unique id", logs.ownership
    ),
    Check("causes", "the cause of every event is recorded and of the same saga", logs.causes),
    Check("inbox_orphans", "every handled event is recorded in a log", logs.inbox_orphans),
    Check("rows", "every table is the fold of the service's events", tables.rows),
    Check("stock", "stock is conserved, and 0 ≤ reserved ≤ on hand", stock.stock),
    Check("quantities", "the ordered quantities are reserved, shipped, released", stock.quantities),
    Check(
        "outcomes", "every order, reservation and shipment has at most one outcome", sagas.outcomes
    ),
    Check("deadlines", "every open order has a deadline, and no final one has", sagas.deadlines),
    Check("bookings", "every initiated shipment has a booking task", sagas.bookings),
    Check("agreement", "stock and shipment match the status of a final order", sagas.agreement),
    Check("mails", "every mail is sent, or has a task", mails.mails),
    Check(
        "archive", "the read API's event archive is a copy of the logs", read_model_checks.archive
    ),
    Check(
        "read_model", "the read API's tables are the fold of the logs", read_model_checks.read_model
    ),
)
