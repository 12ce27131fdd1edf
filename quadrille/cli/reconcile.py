"""`quadrille reconcile`: a service that was restored to an older copy gets its later events back."""

import asyncio
import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from quadrille.cli.params import json_option
from quadrille.endpoints import DECIDING, load_settings
from quadrille.output import echo, echo_json
from quadrille.recovery.reconcile import Options, Reconciliation
from quadrille.recovery.reconcile import reconcile as bring_up_to_date
from shared.chassis.errors import FatalError
from shared.chassis.settings import SettingsError


@click.command()
@click.argument(
    "services", metavar="SERVICE...", nargs=-1, required=True, type=click.Choice(DECIDING)
)
@click.option("--dry-run", is_flag=True, help="Do it with a copy, which is deleted afterwards.")
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A read API's database, for events that the stream no longer has.  [default: read.db in QUADRILLE_DATA_DIR]",
)
@click.option(
    "--ignore", metavar="EVENT_ID", multiple=True, help="An event that the service did not publish."
)
@json_option
def reconcile(
    services: tuple[str, ...],
    *,
    dry_run: bool,
    archive: Path | None,
    ignore: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fetches what the service has published since its copy was made, or everything for a lost database, back from
    the stream and the read API's archive; appends it to the log; and updates tables and tasks as the events require.
    Events of other services that it has missed come again when it starts.

    Stop the service first. The broker must run; QUADRILLE_NATS_URL is the URL of the service's user. The broker of
    `quadrille up` is started for the command. An interrupted run is continued by the next.
    """
    options = Options(archive=archive, ignored=ignore, is_dry_run=dry_run)
    settings = load_settings()
    for service in services:
        try:
            with redirect_stdout(sys.stderr):  # the chassis logs to standard output
                result = asyncio.run(bring_up_to_date(service, settings, options))
        except (FatalError, SettingsError) as error:
            raise click.ClickException(f"{service}: {error}") from error
        if as_json:
            echo_json(result)
        else:
            _print(result, is_dry_run=dry_run)


def _print(result: Reconciliation, *, is_dry_run: bool) -> None:
    if result.events:
        fetched = f"{result.events:,} events fetched back, {result.first:,} to {result.last:,}"
    else:
        fetched = f"no event is missing, the log ends at {result.last:,}"
    would = " (dry run: nothing was changed)" if is_dry_run else ""
    echo(f"{result.service}: {fetched}{would}")
    notes = (
        (result.from_archive, "of them are no longer in the stream, and come from the archive"),
        (result.causes, "events of other services had led to them, and were applied"),
        (result.handled, "other events were missed, and handled from the archive"),
        (result.missing_causes, "events that had led to them are neither in stream nor archive"),
        (result.tasks, "tasks are scheduled"),
    )
    for count, note in notes:
        if count:
            echo(f"  {count:,} {note}", "dim")
