"""`quadrille check`: audits the database files and prints every violation with its evidence."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click
from rich.text import Text

from quadrille.audit.checks import CHECKS
from quadrille.audit.report import FILES, Report, audit
from quadrille.audit.violation import Violation
from quadrille.endpoints import load_settings
from quadrille.output import age, console, echo, echo_json
from shared.chassis.messages import clock

MAX_PRINTED = 10
"""Violations of one check, and warnings; `--json` has all."""


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="The directory of the database files.  [default: QUADRILLE_DATA_DIR]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def check(data_dir: Path | None, *, as_json: bool) -> None:
    """Compares the tables of every service with its event log and with the other services, and changes nothing. The
    services may run; work that is still pending is listed and is no violation.

    \b
    Exit code:
      0  no problems found
      1  problems found, or a database cannot be read
    """
    settings = load_settings()
    report = audit(data_dir or settings.data_dir, settings.inbox_retention_days)
    if as_json:
        echo_json(report)
    else:
        _print(report)
    sys.exit(0 if report.ok else 1)


def _print(report: Report) -> None:
    _print_size(report)
    by_check: dict[str, list[Violation]] = defaultdict(list)
    for violation in report.violations:
        by_check[violation.check].append(violation)
    if unreadable := by_check[FILES]:
        for violation in unreadable:
            echo(f"✗ {violation.actual}", "red")
        echo("Nothing else was checked.")
        return
    for name, invariant, _ in CHECKS:
        violations = by_check[name]
        mark = Text("✗ ", "red") if violations else Text("✓ ", "green")
        line = Text.assemble(mark, f"{name:<13}  ", (invariant, "" if violations else "dim"))
        console().print(line, soft_wrap=True)
        _print_violations(violations)
    _print_pending(report)
    _print_warnings(report)
    echo("")
    if count := len(report.violations):
        echo(f"{count} problem{'s' if count > 1 else ''} found.", "red bold")
    else:
        echo("No problems found.", "green")


def _print_size(report: Report) -> None:
    if not report.events:
        return
    events = ", ".join(f"{service} {count:,}" for service, count in report.events.items())
    orders = ", ".join(f"{count:,} {status}" for status, count in report.orders.items())
    echo(f"events  {events}", "dim")
    echo(f"orders  {orders or 'none yet'}", "dim")
    echo("")


def _print_violations(violations: Sequence[Violation]) -> None:
    for violation in violations[:MAX_PRINTED]:
        echo(f"    {violation.service}: {violation.entity}")
        echo(f"      expected  {violation.expected}")
        echo(f"      found     {violation.actual}", "red")
    _print_rest(len(violations))


def _print_pending(report: Report) -> None:
    if report.pending:
        echo("")
        echo("Pending:", "yellow")
    for pending in report.pending:
        since = age(pending.since)
        when = f"for {since}" if pending.since < clock.now() else f"next in {since}"
        echo(f"    {pending.service:<9}  {pending.count:>6,}  {pending.what:<17}  {when}")


def _print_warnings(report: Report) -> None:
    if report.warnings:
        echo("")
        echo("Warnings:", "yellow")
    for warning in report.warnings[:MAX_PRINTED]:
        echo(f"    {warning.service:<9}  {warning.entity}: {warning.what}")
    _print_rest(len(report.warnings))


def _print_rest(count: int) -> None:
    if count > MAX_PRINTED:
        echo(f"    … and {count - MAX_PRINTED} more; --json has all", "dim")
