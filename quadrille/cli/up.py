"""`quadrille up`: the whole shop on this machine."""

import click

from quadrille.launcher import configuration, launcher
from shared.chassis.settings import inherited


@click.command()
def up() -> None:
    """Ctrl-C stops everything; the data stay.

    Settings are QUADRILLE_* variables. QUADRILLE_NATS_URL names a NATS server to use instead of starting one,
    QUADRILLE_SMTP_URL a mail server instead of the mailbox.
    """
    launcher.up(configuration.plan(inherited()))
