"""`quadrille admin`: who runs the shop, and the admin's password."""

import sys

import click

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_option
from quadrille.cli.session import Session
from quadrille.endpoints import Endpoints, Json, load_settings
from quadrille.output import console, echo, echo_json, table

ROLES = ("admin", "operator")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def admin(context: click.Context, *, as_json: bool) -> None:
    """\b
    For example:
      quadrille admin                                 list admins and operators
      quadrille admin add ben@example.com --role operator
      quadrille admin remove ben@example.com          a customer again, at once in every service
      quadrille admin password                        change your own password
      quadrille admin password --offline              set another, for an admin who has lost it

    An operator looks after orders, shipments, mails, dead letters and tasks; an admin may do everything.
    """
    if context.invoked_subcommand is None:
        page = Client(load_settings()).get("order", "/auth/roles")
        if as_json:
            echo_json(page)
        else:
            _print(page)


@admin.command()
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), default="admin", show_default=True)
@click.option(
    "--unverified",
    is_flag=True,
    help="Even if the address was never verified: somebody else may have registered it.",
)
@json_option
def add(email: str, *, role: str, unverified: bool, as_json: bool) -> None:
    """Give a registered customer a role."""
    body: Json = {"email": email, "role": role} | ({"evenIfUnverified": True} if unverified else {})
    _change(body, as_json=as_json)


@admin.command()
@click.argument("email")
@json_option
def remove(email: str, *, as_json: bool) -> None:
    """Make an admin or operator a customer again; access tokens of the role end at once."""
    _change({"email": email, "role": "customer"}, as_json=as_json)


@admin.command()
@click.argument("email", required=False)
@click.option(
    "--offline",
    is_flag=True,
    help="Write a generated password to the order service's database; stop that service first.",
)
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the present and the new password from standard input, a line each.",
)
@json_option
def password(email: str | None, *, offline: bool, password_stdin: bool, as_json: bool) -> None:
    """Change your own password, or, offline, that of EMAIL (by default the first admin).

    Either way all sessions of the account end.
    """
    settings = load_settings()
    if offline:
        from quadrille.cli.reset_password import (  # noqa: PLC0415 - not for the other commands
            new_password,
        )

        address = email or settings.admin_email
        generated = new_password(settings, address)
        if as_json:
            echo_json({"email": address, "password": generated})
        else:
            echo(f"The new password of {address} is {generated} (printed only now)")
        return
    if email is not None:
        raise click.UsageError("another account's password can be changed with --offline only")
    current, new = _passwords(password_stdin=password_stdin)
    client, endpoints = Client(settings), Endpoints(settings)
    address = client.get("order", "/auth/me")["email"]
    client.put("order", "/auth/password", {"currentPassword": current, "newPassword": new})
    Session(endpoints).sign_in(address, new)
    if as_json:
        echo_json({"email": address})
    else:
        echo(f"Changed the password of {address}; you are signed in here, and nowhere else.")


def _passwords(*, password_stdin: bool) -> tuple[str, str]:
    """The present one and the new one."""
    if password_stdin:
        current, new = (sys.stdin.readline().rstrip("\r\n") for _ in range(2))
        return current, new
    if not sys.stdin.isatty():
        raise click.UsageError("standard input is not a terminal: use --password-stdin")
    current = click.prompt("Present password", hide_input=True, err=True)
    return current, click.prompt(
        "New password", hide_input=True, err=True, confirmation_prompt=True
    )


def _change(body: Json, *, as_json: bool) -> None:
    customer = Client(load_settings()).put("order", "/auth/roles", body)
    if as_json:
        echo_json(customer)
    else:
        echo(f"{customer['email']} is {_ARTICLES[customer['role']]} now.")


_ARTICLES = {"admin": "an admin", "operator": "an operator", "customer": "a customer"}


def _print(page: Json) -> None:
    grid = table("address", "role", "name", "verified")
    for account in page["items"]:
        verified = "yes" if account["emailVerified"] else "no"
        grid.add_row(account["email"], account["role"], account["name"] or "-", verified)
    console().print(grid)
