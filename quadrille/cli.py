"""The `quadrille` command: starts the shop on this machine, and looks at it."""

import click

from quadrille import check
from quadrille.events import events
from quadrille.orders import order, orders
from shared import VERSION
from shared.config import inherited


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="quadrille")
def main() -> None:
    """A shop of five services that dance together over NATS JetStream."""


@click.command()
def up() -> None:
    """Start the whole shop here: a broker, five services, a mailbox, some products.

    Settings are QUADRILLE_* variables. QUADRILLE_NATS_URL names a broker to use instead of an own one,
    QUADRILLE_SMTP_URL a mail server instead of the mailbox.
    """
    from quadrille import launcher, plan  # noqa: PLC0415 - the other commands start faster without

    launcher.up(plan.plan(inherited()))


for command in (up, order, orders, events, check.command):
    main.add_command(command)
