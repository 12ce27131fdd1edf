"""`quadrille down`: stops the shop on this machine."""

import click

from quadrille.cli.params import json_option
from quadrille.endpoints import load_settings
from quadrille.launcher import running
from quadrille.output import echo, echo_json

STOP_SECONDS = 40
"""Longer than the launcher takes to stop services and broker, and to kill those that do not stop."""


@click.command()
@json_option
def down(*, as_json: bool) -> None:
    """Stops the `quadrille up` that uses the data directory, in the background or at another terminal. The data stay."""
    data_dir = load_settings().data_dir.absolute()
    launcher = running.launcher_of(data_dir)
    if launcher and not running.stop(launcher, STOP_SECONDS):
        raise click.ClickException(
            f"process {launcher.pid} did not stop within {STOP_SECONDS} s: see quadrille logs up"
        )
    if as_json:
        echo_json({"dataDir": str(data_dir), "stopped": launcher and launcher.pid})
    elif launcher:
        echo(f"Quadrille has stopped; its data is in {data_dir}")
    else:
        echo(f"No `quadrille up` uses {data_dir}")
