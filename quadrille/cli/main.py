"""The `quadrille` command: starts the shop on this machine, looks at it, and buys there.

A command's module is imported when it is called; `--help` needs none of them.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import click

from shared import VERSION


class CommandEntry(NamedTuple):
    """Where a command is, and what it says of itself."""

    module: str
    name: str
    says: str


class Commands(click.Group):
    """Those in the table below."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command: click.Command = getattr(import_module(place.module), place.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """All of them, by what they are for."""
        width = max(map(len, COMMANDS))
        for title, places in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{name:<{width}}", place.says) for name, place in places.items()]
                )


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="quadrille")
def main() -> None:
    """A shop of five services that dance together over NATS JetStream.

    \b
    quadrille up                            start it
    quadrille order prod001:2 --watch       order, and see the dance
    quadrille login admin@example.com       be the admin: up prints the password

    The services are where QUADRILLE_HOST, QUADRILLE_ORDER_PORT and so on say; by default on this machine.
    What the shop refuses is said in one sentence, with exit code 2.
    """  # noqa: D301 - \b is click's


SECTIONS: Mapping[str, Mapping[str, CommandEntry]] = {
    "The shop": {
        "up": CommandEntry(
            "quadrille.cli.up",
            "up",
            "Start the whole shop here: a broker, five services, a mailbox, some products.",
        ),
        "events": CommandEntry(
            "quadrille.cli.events", "events", "Show the newest events, or an order's story."
        ),
        "check": CommandEntry(
            "quadrille.cli.check", "command", "Look for faults in the database files."
        ),
        "nats-config": CommandEntry(
            "quadrille.cli.nats_command",
            "nats_config_command",
            "Write a broker's configuration and its users.",
        ),
        "provision": CommandEntry(
            "quadrille.cli.provision", "provision", "Keep a broker's stream as the settings say."
        ),
    },
    "Who you are": {
        "login": CommandEntry("quadrille.cli.account", "login", "Sign in, and stay so."),
        "logout": CommandEntry("quadrille.cli.account", "logout", "Sign out."),
        "whoami": CommandEntry("quadrille.cli.account", "whoami", "Say who is signed in."),
    },
    "Buying": {
        "products": CommandEntry(
            "quadrille.cli.products", "products", "List what is sold, with its stock."
        ),
        "order": CommandEntry("quadrille.cli.orders", "order", "Place an order."),
        "cancel": CommandEntry(
            "quadrille.cli.orders", "cancel", "Ask for an order to be cancelled."
        ),
        "orders": CommandEntry("quadrille.cli.orders", "orders", "List orders, newest first."),
        "cart": CommandEntry("quadrille.cli.cart", "cart", "Fill a cart, and check it out."),
    },
    "For the admin": {
        "report": CommandEntry("quadrille.cli.report", "report", "Show what the shop amounts to."),
        "stock": CommandEntry("quadrille.cli.stock", "stock", "Add to the stock, or write off."),
        "keys": CommandEntry(
            "quadrille.cli.keys",
            "keys",
            "List, rotate or revoke the keys that access tokens are signed with.",
        ),
        "held": CommandEntry(
            "quadrille.cli.held", "held", "List events that the read API holds and does not apply."
        ),
        "forget": CommandEntry(
            "quadrille.cli.held",
            "forget",
            "Remove a held event, so that the read API is ready again.",
        ),
        "reset-password": CommandEntry(
            "quadrille.cli.reset_password",
            "reset_password",
            "Give an account a new password and end all its sessions.",
        ),
        "resend": CommandEntry(
            "quadrille.cli.resend",
            "resend",
            "Publish a service's events again, from one position of its log to another.",
        ),
    },
}
COMMANDS = {name: place for places in SECTIONS.values() for name, place in places.items()}
