"""The `quadrille` command: starts the shop on this machine, inspects it, and orders there.

A command's module is imported when the command is called: `quadrille --help` must not wait for HTTP clients and
database drivers. Hence a command's summary is in the table below, and only the rest of its help in its docstring.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from inspect import cleandoc
from typing import NamedTuple

import click
from click.exceptions import NoSuchCommand
from click.shell_completion import CompletionItem

from shared import VERSION


class CommandEntry(NamedTuple):
    module: str
    attribute: str
    summary: str


class LazyGroup(click.Group):
    """The commands of `SECTIONS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        entry = COMMANDS.get(cmd_name)
        return _load(entry) if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, which does not know the names to suggest."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            raise NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's, which imports every command for its summary."""
        options = click.Command.shell_complete(self, ctx, incomplete)
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        return [CompletionItem(name, help=COMMANDS[name].summary) for name in names] + options

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        width = max(map(len, COMMANDS))
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{name:<{width}}", entry.summary) for name, entry in entries.items()]
                )


@cache
def _load(entry: CommandEntry) -> click.Command:
    command: click.Command = getattr(import_module(entry.module), entry.attribute)
    command.help = f"{entry.summary}\n\n{cleandoc(command.help or '')}"
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="quadrille")
def main() -> None:
    """A shop of five services, choreographed over NATS JetStream.

    \b
    quadrille up                            start it
    quadrille order prod001:2 --address …   place an order and follow it
    quadrille login admin@example.com       sign in as the admin; `up` prints the password

    QUADRILLE_HOST, QUADRILLE_ORDER_PORT and so on name the services' addresses; by default they are on this machine.
    An order is named by its id or, once you are signed in, by its number, such as 7K3F-92QM.

    \b
    Exit code:
      0  done
      1  not done, and one sentence explains why: the shop refuses it, or cannot be reached
      2  misuse: an unknown command or option, an invalid argument or setting
    """


SECTIONS: Mapping[str, Mapping[str, CommandEntry]] = {
    "The shop": {
        "up": CommandEntry(
            "quadrille.cli.up",
            "up",
            "Start the whole shop on this machine: broker, services, mailbox, sample products.",
        ),
        "down": CommandEntry("quadrille.cli.down", "down", "Stop it."),
        "status": CommandEntry(
            "quadrille.cli.status", "status", "Show whether its services are ready, and their lag."
        ),
        "logs": CommandEntry("quadrille.cli.logs", "logs", "Show what its processes have logged."),
        "reset": CommandEntry(
            "quadrille.cli.reset", "reset", "Delete its data, so that the next start is the first."
        ),
    },
    "Your account": {
        "register": CommandEntry("quadrille.cli.account", "register", "Open an account."),
        "login": CommandEntry("quadrille.cli.account", "login", "Sign in."),
        "logout": CommandEntry("quadrille.cli.account", "logout", "Sign out."),
        "addresses": CommandEntry(
            "quadrille.cli.addresses", "addresses", "Show or change your address book."
        ),
        "whoami": CommandEntry("quadrille.cli.account", "whoami", "Show who is signed in."),
    },
    "Ordering": {
        "products": CommandEntry(
            "quadrille.cli.products", "products", "List the products and their stock."
        ),
        "order": CommandEntry("quadrille.cli.orders", "order", "Place an order, or show one."),
        "cancel": CommandEntry(
            "quadrille.cli.orders", "cancel", "Request the cancellation of an order."
        ),
        "orders": CommandEntry("quadrille.cli.orders", "orders", "List orders, newest first."),
        "cart": CommandEntry("quadrille.cli.cart", "cart", "Show or fill a cart, and order it."),
    },
    "Administration": {
        "report": CommandEntry(
            "quadrille.cli.report", "report", "Report revenue, sales, low stock and problems."
        ),
        "product": CommandEntry(
            "quadrille.cli.product", "product", "Add, change, delete or restore a product."
        ),
        "stock": CommandEntry("quadrille.cli.stock", "stock", "Add stock, or write it off."),
        "customer": CommandEntry(
            "quadrille.cli.customer",
            "customer",
            "List customers, or show one with cart and orders.",
        ),
        "mail": CommandEntry(
            "quadrille.cli.mail", "mail", "List mails and their outcomes; send one again."
        ),
        "carrier": CommandEntry(
            "quadrille.cli.carrier", "carrier", "Show or change how the simulated carrier behaves."
        ),
        "admin": CommandEntry(
            "quadrille.cli.admin",
            "admin",
            "List, add or remove admins and operators; change the password.",
        ),
        "keys": CommandEntry(
            "quadrille.cli.keys", "keys", "List, rotate or revoke the keys that sign access tokens."
        ),
    },
    "Operations": {
        "events": CommandEntry(
            "quadrille.cli.events", "events", "Show the newest events, or an order's timeline."
        ),
        "sagas": CommandEntry(
            "quadrille.cli.sagas", "sagas", "List unfinished orders, and whom they wait for."
        ),
        "nudge": CommandEntry(
            "quadrille.cli.sagas",
            "nudge",
            "Have every service publish its events of an order again, and try now what waits.",
        ),
        "settle": CommandEntry(
            "quadrille.cli.sagas", "settle", "End a parcel of which its carrier reports nothing."
        ),
        "tasks": CommandEntry(
            "quadrille.cli.tasks", "tasks", "List the services' tasks; run or give up one."
        ),
        "dlq": CommandEntry(
            "quadrille.cli.dlq",
            "dlq",
            "List, try, redrive or discard dead letters: events that a service could not handle.",
        ),
        "held": CommandEntry(
            "quadrille.cli.held", "held", "List events that the read API holds and does not apply."
        ),
        "forget": CommandEntry(
            "quadrille.cli.held",
            "forget",
            "Remove a held event, so that the read API is ready again.",
        ),
        "resend": CommandEntry(
            "quadrille.cli.resend",
            "resend",
            "Publish a service's events again, from one position of its log to another.",
        ),
        "rebuild": CommandEntry(
            "quadrille.cli.rebuild",
            "rebuild",
            "Rebuild a service's tables from its events while it is in use.",
        ),
    },
    "Database files": {
        "check": CommandEntry(
            "quadrille.cli.check", "check", "Audit the database files for inconsistencies."
        ),
        "backup": CommandEntry(
            "quadrille.cli.backup", "backup", "Copy the databases of the shop, which may run."
        ),
        "restore": CommandEntry(
            "quadrille.cli.restore", "restore", "Put databases of a backup back."
        ),
        "reconcile": CommandEntry(
            "quadrille.cli.reconcile",
            "reconcile",
            "Fetch a restored service's later events back from the stream.",
        ),
        "reset-password": CommandEntry(
            "quadrille.cli.reset_password",
            "reset_password",
            "Set a new password for an account and end all its sessions.",
        ),
        "reset-keys": CommandEntry(
            "quadrille.cli.reset_keys",
            "reset_keys",
            "Start again with a new signing key, after the private keys were lost.",
        ),
    },
    "A broker of your own": {
        "nats-config": CommandEntry(
            "quadrille.cli.nats_config",
            "nats_config",
            "Write the configuration and the users of a NATS server.",
        ),
        "provision": CommandEntry(
            "quadrille.cli.provision",
            "provision",
            "Keep a NATS server's stream as the settings require.",
        ),
    },
    "This command": {
        "completion": CommandEntry(
            "quadrille.cli.completion",
            "completion",
            "Print a script that completes commands in a shell.",
        ),
    },
}
COMMANDS = {name: entry for entries in SECTIONS.values() for name, entry in entries.items()}
