"""`quadrille up`: the whole shop on this machine."""

import sys

import click

from quadrille.data_directory import LOGS
from quadrille.launcher import configuration, detached, launcher
from shared.chassis.settings import inherited


@click.command()
@click.option("--detach", is_flag=True, help="Return when the shop is ready, and leave it running.")
@click.option(detached.READY_OPTION, "ready_descriptor", type=int, hidden=True)
def up(*, detach: bool, ready_descriptor: int | None) -> None:
    """Ctrl-C stops everything; the data stay. A process that ends is started again.

    With --detach it survives the terminal: `quadrille status` shows how it is, `quadrille down` stops it.

    Settings are QUADRILLE_* variables. QUADRILLE_NATS_URL names a NATS server to use instead of starting one,
    QUADRILLE_SMTP_URL a mail server instead of the mailbox.
    """
    if detach:
        sys.exit(detached.start())
    plan = configuration.plan(inherited())
    if ready_descriptor is None:
        launcher.up(plan)
    else:
        log = plan.settings.data_dir / LOGS / f"{detached.NAME}.log"
        launcher.up(plan, detached.leave_terminal(ready_descriptor, log))
