"""`quadrille backup`: copies the databases of a shop, which may run."""

from pathlib import Path

import click

from quadrille.cli.params import json_option, services_argument
from quadrille.endpoints import load_settings
from quadrille.output import console, echo, echo_json, table
from quadrille.recovery.backup import back_up, events_in, verify
from quadrille.recovery.manifest import Manifest
from shared.chassis.errors import FatalError

MEGABYTE = 1_000_000


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@services_argument
@click.option("--verify", "verifies", is_flag=True, help="Check an existing backup instead.")
@json_option
def backup(directory: Path, services: tuple[str, ...], *, verifies: bool, as_json: bool) -> None:
    """\b
    For example:
      quadrille backup /backup/monday             copy all databases in QUADRILLE_DATA_DIR
      quadrille backup /backup/monday --verify    check that the backup is complete and undamaged

    The services may run; each copy is consistent. The files are for their owner only: they contain password hashes,
    private keys and customers' addresses. `quadrille restore` puts them back.
    """
    try:
        manifest = verify(directory) if verifies else back_up(directory, load_settings(), services)
    except FatalError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{directory}: {error.strerror}") from error
    if as_json:
        echo_json(manifest)
    else:
        _print(manifest)
        echo(f"{directory} is complete" if verifies else f"Copied to {directory}")


def _print(manifest: Manifest) -> None:
    grid = table("service", "events", "processed", "MB", right=(1, 2, 3))
    for copy in manifest.databases:
        size = f"{copy.size / MEGABYTE:,.1f}"
        grid.add_row(copy.service, f"{events_in(copy):,}", f"{copy.inbox:,}", size)
    console().print(grid)
