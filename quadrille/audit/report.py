"""The result of an audit, as `quadrille check` prints it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from quadrille.audit.checks import run_checks
from quadrille.audit.deadlines import NEVER, Deadlines
from quadrille.audit.pending import AuditWarning, Pending, find_pending, find_warnings
from quadrille.audit.read_model import READ
from quadrille.audit.shop_snapshot import ShopSnapshot, UnreadableShop, read_shop
from quadrille.audit.violation import Violation

FILES = "files"
"""The name of the check that every database can be read; no other check runs if it fails."""


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The audit of one data directory."""

    ok: bool
    """Whether there are no violations."""
    violations: Sequence[Violation] = msgspec.field(name="findings")
    warnings: Sequence[AuditWarning] = msgspec.field(default=(), name="notices")
    pending: Sequence[Pending] = msgspec.field(default=(), name="onItsWay")
    events: dict[str, int] = {}
    """The number of recorded events by service."""
    orders: dict[str, int] = {}
    """The number of orders by status."""


def audit(data_dir: Path, inbox_retention_days: int = 0, deadlines: Deadlines = NEVER) -> Report:
    """Audit the databases in `data_dir`, while the services run or not. Nothing is written."""
    try:
        return report_on(read_shop(data_dir, inbox_retention_days, deadlines))
    except UnreadableShop as unreadable:
        return report_of_unreadable(unreadable)


def report_on(shop: ShopSnapshot) -> Report:
    violations = run_checks(shop)
    orders = Counter(order.status.value for order in shop.order.state.orders.values())
    return Report(
        ok=not violations,
        violations=violations,
        warnings=list(find_warnings(shop)),
        pending=list(find_pending(shop)),
        events={service.name: len(service.log) for service in shop.services},
        orders=dict(orders.most_common()),
    )


def report_of_unreadable(unreadable: UnreadableShop) -> Report:
    """One violation for each database that cannot be read."""
    return Report(
        ok=False,
        violations=[
            Violation(FILES, service, "database", "a readable database", fault, _way_out(service))
            for service, fault in unreadable.faults.items()
        ],
    )


def _way_out(service: str) -> str:
    if not service:
        return ""
    if service == READ:
        return "if it is damaged: stop the read API, delete read.db and start it: it is built again"
    return (
        "if it is damaged or missing: stop the service, restore a copy with quadrille restore, and "
        f"run quadrille reconcile {service}"
    )
