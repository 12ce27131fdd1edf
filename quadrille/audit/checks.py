"""The invariants of the shop, each as one check of its databases.

A service may be behind the others at any time. So a check that compares services ignores the orders of which an event
is not yet handled, a task is due or an event is a dead letter.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from quadrille.audit import logs, mails, progress, read_model_checks, sagas, stock, tables
from quadrille.audit.shop_snapshot import ShopSnapshot
from quadrille.audit.violation import Mismatch, Violation


class Check(NamedTuple):
    """An invariant, and the function that finds where it does not hold."""

    name: str
    invariant: str
    find: Callable[[ShopSnapshot], Iterable[Mismatch]]
    remedy: str
    """What an operator does; `{service}` is where the mismatch was found."""


def run_checks(shop: ShopSnapshot) -> list[Violation]:
    """The violations of all invariants, in the order of `CHECKS`."""
    return [
        Violation(
            check.name,
            service,
            entity,
            str(expected),
            str(actual),
            check.remedy.format(service=service),
        )
        for check in CHECKS
        for service, entity, expected, actual in check.find(shop)
    ]


LOG = (
    "the log in {service}.db is damaged: stop the service, restore a copy with quadrille restore, "
    "and run quadrille reconcile {service}"
)
OTHER_LOG = (
    "a log has lost an event that {service} refers to: stop the service that published it, restore "
    "a copy with quadrille restore, and run quadrille reconcile"
)
TABLES = (
    "tables in {service}.db were changed: run quadrille rebuild {service}; if it does not help, "
    "restore a copy with quadrille restore, and run quadrille reconcile {service}"
)
TASKS = (
    "tasks in {service}.db were lost: nudge the order, or restore a copy and reconcile {service}"
)
ARCHIVE = "read.db is damaged: stop the read API, delete read.db and start it: it is built again"
READ_MODEL = "tables in read.db were changed: run quadrille rebuild read"
STUCK = "see whether {service} runs and is ready; then quadrille check --repair"

CHECKS = (
    Check("positions", "every log runs from 1 without a gap", logs.positions, LOG),
    Check("versions", "the versions of every entity run from 1 without a gap", logs.versions, LOG),
    Check(
        "ownership",
        "every event is in the log of its publisher, with a unique id",
        logs.ownership,
        LOG,
    ),
    Check(
        "causes",
        "the cause of every event is recorded and of the same saga",
        logs.causes,
        OTHER_LOG,
    ),
    Check(
        "inbox_orphans", "every handled event is recorded in a log", logs.inbox_orphans, OTHER_LOG
    ),
    Check("rows", "every table is the fold of the service's events", tables.rows, TABLES),
    Check("stock", "stock is conserved, and 0 ≤ reserved ≤ on hand", stock.stock, TABLES),
    Check(
        "quantities",
        "the ordered quantities are reserved, shipped, released",
        stock.quantities,
        LOG,
    ),
    Check(
        "outcomes",
        "every order, reservation and shipment has at most one outcome",
        sagas.outcomes,
        LOG,
    ),
    Check(
        "deadlines", "every open order has a deadline, and no final one has", sagas.deadlines, TASKS
    ),
    Check("bookings", "every initiated shipment has a booking task", sagas.bookings, TASKS),
    Check(
        "agreement", "stock and shipment match the status of a final order", sagas.agreement, TABLES
    ),
    Check("mails", "every mail is sent, or has a task", mails.mails, TASKS),
    Check(
        "archive",
        "the read API's event archive is a copy of the logs",
        read_model_checks.archive,
        ARCHIVE,
    ),
    Check(
        "read_model",
        "the read API's tables are the fold of the logs",
        read_model_checks.read_model,
        READ_MODEL,
    ),
    Check("progress", "nothing waits for longer than its deadline", progress.progress, STUCK),
)
