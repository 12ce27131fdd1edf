"""`quadrille restore`: puts databases of a backup back."""

import asyncio
from pathlib import Path

import click

from quadrille.cli.params import json_lines_option, services_argument
from quadrille.endpoints import DECIDING, load_settings
from quadrille.output import echo, echo_json
from quadrille.recovery.backup import events_in
from quadrille.recovery.restore import Restored
from quadrille.recovery.restore import restore as put_back
from shared.chassis.errors import FatalError

SINCE_THE_COPY = """\
Nothing brings back what is in no event and has changed since the copy: passwords, private signing keys, and idempotency
keys (a repeated request may be executed again). All customers have to sign in again."""


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@services_argument
@click.option(
    "--force", is_flag=True, help="Replace existing databases; they are moved aside, not deleted."
)
@json_lines_option
def restore(directory: Path, services: tuple[str, ...], *, force: bool, as_json: bool) -> None:
    """Checks the backup first, and changes nothing if a process uses one of the databases. Stop the services first,
    and run `quadrille reconcile` afterwards: it fetches what the services have published since the copy.
    """
    try:
        restored = asyncio.run(put_back(directory, load_settings(), services, force=force))
    except FatalError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or directory}: {error.strerror}") from error
    if as_json:
        for copy, file, replaced in restored:
            echo_json(
                {"service": copy.service, "file": str(file), "movedTo": replaced and str(replaced)}
            )
    else:
        _print(restored)


def _print(restored: list[Restored]) -> None:
    for copy, file, replaced in restored:
        was = f"; the previous one is in {replaced}" if replaced else ""
        echo(f"{file}: {events_in(copy):,} events{was}")
    names = [copy.service for copy, _, _ in restored if copy.service in DECIDING]
    if "order" in names:
        echo("")
        echo(SINCE_THE_COPY, "yellow")
    if names:
        echo("")
        echo(f"Next, before you start the services: quadrille reconcile {' '.join(names)}")
