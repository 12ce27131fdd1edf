"""`quadrille resend`: publishes events again that the broker has lost or refused."""

import click

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_option
from quadrille.endpoints import DECIDING, load_settings
from quadrille.output import echo, echo_json

POSITION = click.IntRange(min=1)


@click.command()
@click.argument("service", type=click.Choice(DECIDING))
@click.argument("first", metavar="FROM", type=POSITION)
@click.argument("last", metavar="[TO]", type=POSITION, required=False)
@json_option
def resend(service: str, first: int, last: int | None, *, as_json: bool) -> None:
    """\b
    For example:
      quadrille resend order 1          all events of the order service
      quadrille resend inventory 7 9    three events of the inventory service

    Use it if the broker refused an event and accepts it now. What the broker has lost, a service publishes again
    without being asked. Services ignore events that they have handled already.

    Only for the admin: quadrille login admin@example.com
    """
    body = {"from": first} if last is None else {"from": first, "to": last}
    resending = Client(load_settings()).post(service, "/events/resend", body)
    if as_json:
        echo_json(resending)
        return
    first, last, events = resending["from"], resending["to"], resending["events"]
    echo(f"{service}: publishing {events:,} events again, from {first:,} to {last:,}")
