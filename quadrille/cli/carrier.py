"""`quadrille carrier`: shows and changes how the simulated carrier behaves."""

import click

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_option
from quadrille.endpoints import Json, load_settings
from quadrille.output import echo, echo_json

PATH = "/carriers/simulated"

share = click.FloatRange(0, 1)
seconds = click.FloatRange(min=0)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def carrier(context: click.Context, *, as_json: bool) -> None:
    """\b
    For example:
      quadrille carrier                                       show its behaviour
      quadrille carrier set --success-rate 0.5                let half of the shipments fail
      quadrille carrier set --min-delay 60 --max-delay 120    deliver after one or two minutes

    Changes hold for new shipments, until the shipping service is restarted.

    Only for the admin: quadrille login admin@example.com
    """
    if context.invoked_subcommand is None:
        _show(as_json=as_json)


@carrier.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show its behaviour."""
    _show(as_json=as_json)


@carrier.command("set")
@click.option("--success-rate", type=share, help="The share of shipments that are delivered.")
@click.option("--min-delay", type=seconds, help="From booking to outcome, in seconds.")
@click.option("--max-delay", type=seconds, help="The same, at most.")
@click.option("--silent-rate", type=share, help="The share whose outcome is never reported.")
@json_option
def change(
    success_rate: float | None,
    min_delay: float | None,
    max_delay: float | None,
    silent_rate: float | None,
    *,
    as_json: bool,
) -> None:
    """Change what is named, and nothing else."""
    options = {
        "successRate": success_rate,
        "minDelaySeconds": min_delay,
        "maxDelaySeconds": max_delay,
        "silentRate": silent_rate,
    }
    changes = {name: value for name, value in options.items() if value is not None}
    if not changes:
        raise click.UsageError("name what is to be changed, e.g. --success-rate")
    client = Client(load_settings())
    _print(client.edit("shipping", PATH, lambda current: current | changes), as_json=as_json)


def _show(*, as_json: bool) -> None:
    _print(Client(load_settings()).get("shipping", PATH), as_json=as_json)


def _print(behaviour: Json, *, as_json: bool) -> None:
    if as_json:
        echo_json(behaviour)
        return
    least, most = behaviour["minDelaySeconds"], behaviour["maxDelaySeconds"]
    silent = behaviour.get("silentRate", 0)
    echo(f"simulated: delivers {behaviour['successRate']:.0%} of the shipments")
    echo(f"  from booking to outcome: {least:g} to {most:g} s")
    if silent:
        echo(f"  never reports the outcome of {silent:.0%}")
