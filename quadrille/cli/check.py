"""`quadrille check`: puts the oracle's questions to the database files, and shows the evidence."""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.text import Text

from quadrille.audit.checks import CHECKS, run_checks
from quadrille.audit.shop_snapshot import AuditWarning, Pending, UnreadableShop, read_shop
from quadrille.audit.violation import Violation
from quadrille.cli.endpoints import settings
from quadrille.cli.output import age, console, echo, echo_json
from shared.chassis.messages import clock

MAX_SHOWN = 10
"""Findings of one check; all of them are in `--json`."""


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the oracle says of a data directory."""

    ok: bool
    findings: Sequence[Violation]
    """What is wrong."""
    warnings: Sequence[AuditWarning] = msgspec.field(default=(), name="notices")
    """What a person should look at, though it contradicts nothing."""
    pending: Sequence[Pending] = msgspec.field(default=(), name="onItsWay")
    """What goes on by itself."""
    events: dict[str, int] = {}
    """How many each service has recorded."""
    orders: dict[str, int] = {}
    """Orders by status."""


def check(data_dir: Path, inbox_retention_days: int = 0) -> list[Violation]:
    """Everything that is wrong in the databases under `data_dir`; [] when all is as it should be."""
    return list(inspect(data_dir, inbox_retention_days).findings)


def inspect(data_dir: Path, inbox_retention_days: int = 0) -> Report:
    """The same, with what is unfinished or worth a look."""
    try:
        shop = read_shop(data_dir, inbox_retention_days)
    except UnreadableShop as unreadable:
        findings = [
            Violation("files", service, "database", "one that can be read", fault)
            for service, fault in unreadable.faults.items()
        ]
        return Report(ok=False, findings=findings)
    findings = run_checks(shop)
    orders = Counter(order.status.value for order in shop.service("order").state.orders.values())
    return Report(
        ok=not findings,
        findings=findings,
        warnings=list(shop.warnings()),
        pending=list(shop.pending()),
        events={service.name: len(service.log) for service in shop.services},
        orders=dict(orders.most_common()),
    )


@click.command("check")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where the database files are; QUADRILLE_DATA_DIR by default.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the whole report as one JSON document."
)
def command(data_dir: Path | None, *, as_json: bool) -> None:
    """Look for faults in the database files.

    Compares them with their logs and with each other, and changes nothing. The services may run or be
    stopped; what is on its way is no fault, and is shown.

    \b
    Exit code:
      0  all is as it should be
      1  something is wrong, or can not be read; the evidence is shown
    """  # noqa: D301 - \b is click's
    known = settings()
    report = inspect(data_dir or known.data_dir, known.inbox_retention_days)
    if as_json:
        echo_json(report)
    else:
        _show(report)
    sys.exit(0 if report.ok else 1)


def _show(report: Report) -> None:
    _show_size(report)
    by_check: dict[str, list[Violation]] = defaultdict(list)
    for finding in report.findings:
        by_check[finding.check].append(finding)
    if unreadable := by_check.pop("files", []):
        for finding in unreadable:
            echo(f"✗ {finding.found}", "red")
        echo("Nothing else was checked.")
        return
    for asked in CHECKS:
        findings = by_check[asked.name]
        mark = Text("✗ ", "red") if findings else Text("✓ ", "green")
        line = Text.assemble(mark, f"{asked.name:<11}", (asked.says, "" if findings else "dim"))
        console().print(line, soft_wrap=True)
        _show_findings(findings)
    _show_unfinished(report)
    wrong = len(report.findings)
    echo("")
    if wrong:
        echo(f"{wrong} thing{'s are' if wrong > 1 else ' is'} wrong.", "red bold")
    else:
        echo("All is as it should be.", "green")


def _show_size(report: Report) -> None:
    if not report.events:
        return
    events = ", ".join(f"{service} {count:,}" for service, count in report.events.items())
    orders = ", ".join(f"{count:,} {status}" for status, count in report.orders.items())
    echo(f"events  {events}", "dim")
    echo(f"orders  {orders or 'none yet'}", "dim")
    echo("")


def _show_findings(findings: Sequence[Violation]) -> None:
    for finding in findings[:MAX_SHOWN]:
        echo(f"    {finding.service}: {finding.entity}")
        echo(f"      expected  {finding.expected}")
        echo(f"      found     {finding.found}", "red")
    if len(findings) > MAX_SHOWN:
        echo(f"    … and {len(findings) - MAX_SHOWN} more; --json shows all", "dim")


def _show_unfinished(report: Report) -> None:
    if report.pending:
        echo("")
        echo("On its way:", "yellow")
    for unfinished in report.pending:
        since = age(unfinished.since)
        when = f"for {since}" if unfinished.since < clock.now() else f"next in {since}"
        count = f"{unfinished.count:>6,}  {unfinished.what:<15}"
        echo(f"    {unfinished.service:<9}  {count}  {when}")
    if report.warnings:
        echo("")
        echo("Worth a look:", "yellow")
    for notice in report.warnings[:MAX_SHOWN]:
        echo(f"    {notice.service:<9}  {notice.entity}: {notice.what}")
    if len(report.warnings) > MAX_SHOWN:
        echo(f"    … and {len(report.warnings) - MAX_SHOWN} more; --json shows all", "dim")
