"""`quadrille up`: the whole shop on this machine."""

import click

from quadrille.launcher import configuration, launcher
from shared.settings import inherited


@click.command()
def up() -> None:
    """Start the whole shop here: a broker, five services, a mailbox, some products.

    Settings are QUADRILLE_* variables. QUADRILLE_NATS_URL names a broker to use instead of starting one,
    QUADRILLE_SMTP_URL a mail server instead of the mailbox. Ctrl-C stops it all.
    """
    launcher.up(configuration.plan(inherited()))
