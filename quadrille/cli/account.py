"""`quadrille login`, `logout` and `whoami`."""

import sys

import click

from quadrille.cli.api_client import Client
from quadrille.cli.endpoints import Shop, ShopError, settings
from quadrille.cli.output import echo, echo_json
from quadrille.cli.session import Session


@click.command()
@click.argument("email", required=False)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def login(email: str | None, *, password_stdin: bool) -> None:
    """Sign in, and stay so.

    Asks for what is not given; the password is not shown. For a script:

      quadrille login admin@example.com --password-stdin < password.txt

    The tokens, never the password, are kept in ~/.config/quadrille/session.json, readable for you alone, for each
    shop by its address; XDG_CONFIG_HOME is minded. A sign-in lasts thirty days from its last use, or until logout.
    """
    shop = Shop(settings())
    email, password = _credentials(email, password_stdin=password_stdin)
    Session(shop).begin(email, password)
    echo(f"Signed in at {shop.url('order')} as {email}.")


@click.command()
def logout() -> None:
    """Sign out.

    The tokens are removed here and ended at the shop.
    """
    try:
        known = Session(Shop(settings())).end()
    except ShopError as error:
        raise ShopError(f"you were signed out only here: {error.message}") from error
    echo(f"Signed out; you were {known.email}." if known else "You were not signed in.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def whoami(*, as_json: bool) -> None:
    """Say who is signed in."""
    customer = Client(settings()).get("order", "/auth/me")
    if as_json:
        echo_json(customer)
    else:
        echo(f"{customer['email']}, {customer['role']}, user {customer['userId']}")


def _credentials(email: str | None, *, password_stdin: bool) -> tuple[str, str]:
    if password_stdin:
        if email is None:
            raise click.UsageError("--password-stdin wants the e-mail as an argument")
        return email, sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask at: use --password-stdin")
    email = email or click.prompt("E-mail", err=True)
    return email, click.prompt("Password", hide_input=True, err=True)
