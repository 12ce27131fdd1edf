"""`quadrille check`: audits the database files and prints every violation with its evidence."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeAlias

import click
import msgspec
from rich.text import Text

from quadrille.audit.checks import CHECKS
from quadrille.audit.deadlines import NEVER, Deadlines
from quadrille.audit.online import CHECKS as ONLINE_CHECKS
from quadrille.audit.online import read_online, report_online
from quadrille.audit.repairs import Repair, find_repairs
from quadrille.audit.report import FILES, Report, report_of_unreadable, report_on
from quadrille.audit.shop_snapshot import ShopSnapshot, UnreadableShop, read_shop
from quadrille.audit.violation import Violation
from quadrille.cli.api_client import Client
from quadrille.cli.session import SignInRequired
from quadrille.data_directory import are_services_running
from quadrille.endpoints import (
    Endpoints,
    Json,
    ServiceUnreachable,
    ShopError,
    load_settings,
    segment,
)
from quadrille.output import age, console, echo, echo_json
from shared.chassis.messages import clock
from shared.settings import ShopSettings

REPAIR_SECONDS = 15
POLL_SECONDS = 0.5
Invariants: TypeAlias = Sequence[tuple[str, str]]
"""Names and invariants of checks, in the order in which they are printed."""
MAX_PRINTED = 10
"""Violations of one check, and warnings; `--json` has all."""


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="The directory of the database files.  [default: QUADRILLE_DATA_DIR]",
)
@click.option(
    "--stuck-after",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long an event or a task may wait.  [default: 60 to 300, if a service runs]",
)
@click.option(
    "--repair",
    "repairs",
    is_flag=True,
    help="Have the services repair what they own; for the admin.",
)
@click.option(
    "--online", is_flag=True, help="Ask the services over HTTP instead of reading their files."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def check(
    data_dir: Path | None,
    *,
    stuck_after: float | None,
    repairs: bool,
    online: bool,
    as_json: bool,
) -> None:
    """Compares the tables of every service with its event log and with the other services, and changes nothing. The
    services may run; work that is still pending is listed, and is a violation only after its deadline.

    --repair sends commands to the services: publish events again that did not arrive, execute overdue tasks, try dead
    letters again, rebuild tables. Then it checks once more.

    --online is for containers and other machines: it compares the services' own reports, which contain counts and
    digests but no events. It checks less: whether the logs are complete, whether the read API has applied them, and
    whether anything waits too long. For a full check, copy a backup of every service to one machine.

    Sign in for both: quadrille login admin@example.com

    \b
    Exit code:
      0  no problems found
      1  problems found, or a database cannot be read
    """
    settings = load_settings()
    if online:
        if data_dir or repairs:
            raise click.UsageError("--online reads no files, and repairs nothing")
        _exit(_report_online(settings, stuck_after), ONLINE_CHECKS, as_json=as_json)
    directory = data_dir or settings.data_dir
    shop = partial(
        read_shop, directory, settings.inbox_retention_days, _deadlines(directory, stuck_after)
    )
    try:
        snapshot = shop()
        report = report_on(snapshot)
        if repairs and (possible := find_repairs(snapshot, report.violations)):
            _repair(possible, Client(settings), as_json=as_json)
            report = _wait_for_repairs(shop)
    except UnreadableShop as unreadable:
        report = report_of_unreadable(unreadable)
    checks = [(check.name, check.invariant) for check in CHECKS]
    _exit(report, checks, as_json=as_json)


def _exit(report: Report, checks: Invariants, *, as_json: bool) -> NoReturn:
    if as_json:
        echo_json(report)
    else:
        _print(report, checks)
    sys.exit(0 if report.ok else 1)


def _report_online(settings: ShopSettings, stuck_after: float | None) -> Report:
    """Raises ShopError."""
    client, endpoints = Client(settings), Endpoints(settings)
    deadlines = Deadlines() if stuck_after is None else Deadlines.of(stuck_after)

    def ready(service: str) -> Json:
        return msgspec.json.decode(endpoints.request("GET", service, "/health/ready").content)

    def audit(service: str, through: int | None) -> Json:
        return client.get(service, "/audit", through=through)

    return report_online(read_online(audit, ready, clock.now(), deadlines))


def _deadlines(directory: Path, stuck_after: float | None) -> Deadlines:
    if stuck_after is not None:
        return Deadlines.of(stuck_after)
    return Deadlines() if are_services_running(directory) else NEVER


def _repair(repairs: Sequence[Repair], client: Client, *, as_json: bool) -> None:
    """Raises ShopError, as without a session of the admin. What one service refuses does not stop the others."""
    for repair in repairs:
        path = "/" + "/".join(map(segment, repair.path))
        try:
            client.post(repair.service, path, repair.body)
        except (SignInRequired, ServiceUnreachable):
            raise
        except ShopError as error:
            click.echo(f"{repair.service} refuses: {error.message} ({repair.what})", err=True)
        else:
            click.echo(f"{repair.service} {repair.what}", err=as_json)


def _wait_for_repairs(shop: Callable[[], ShopSnapshot]) -> Report:
    """The audit once nothing is left to be repaired, or after a while."""
    deadline = time.monotonic() + REPAIR_SECONDS
    while True:
        report = report_on(snapshot := shop())
        if not find_repairs(snapshot, report.violations) or time.monotonic() > deadline:
            return report
        time.sleep(POLL_SECONDS)


def _print(report: Report, checks: Invariants) -> None:
    _print_size(report)
    by_check: dict[str, list[Violation]] = defaultdict(list)
    for violation in report.violations:
        by_check[violation.check].append(violation)
    if unreadable := by_check[FILES]:
        for violation in unreadable:
            echo(f"✗ {violation.actual}", "red")
            _print_remedy(violation)
        echo("Nothing else was checked.")
        return
    for name, invariant in checks:
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
    if not violations:
        return
    for violation in violations[:MAX_PRINTED]:
        echo(f"    {violation.service}: {violation.entity}")
        echo(f"      expected  {violation.expected}")
        echo(f"      found     {violation.actual}", "red")
    _print_rest(len(violations))
    for first in {violation.remedy: violation for violation in violations}.values():
        _print_remedy(first)


def _print_remedy(violation: Violation) -> None:
    if violation.remedy:
        echo(f"    → {violation.remedy}", "yellow")


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
