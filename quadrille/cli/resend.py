"""`quadrille resend`: publishing again what the broker has lost or refused."""

import click

from quadrille.cli.api_client import Client
from quadrille.cli.endpoints import settings
from quadrille.cli.output import echo, echo_json
from shared.contracts import PUBLISHERS

SERVICES = sorted(set(PUBLISHERS.values()))
POSITION = click.IntRange(min=1)


@click.command()
@click.argument("service", type=click.Choice(SERVICES))
@click.argument("first", metavar="FROM", type=POSITION)
@click.argument("last", metavar="[TO]", type=POSITION, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def resend(service: str, first: int, last: int | None, *, as_json: bool) -> None:
    """Publish a service's events again, from one position of its log to another.

    \b
    For example:
      quadrille resend order 1          all events of the order service
      quadrille resend inventory 7 9    three of the inventory service

    Use it when the stream was lost, or when the broker refused an event and takes it now. Services that have
    handled an event ignore it when it comes again.

    Only the admin may: quadrille login admin@example.com
    """  # noqa: D301 - \b is click's
    body = {"from": first} if last is None else {"from": first, "to": last}
    resending = Client(settings()).post(service, "/events/resend", body)
    if as_json:
        echo_json(resending)
        return
    first, last, events = resending["from"], resending["to"], resending["events"]
    echo(f"{service}: publishing {events:,} events again, from {first:,} to {last:,}")
