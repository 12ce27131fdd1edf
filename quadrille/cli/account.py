"""`quadrille register`, `login`, `logout` and `whoami`."""

import sys

import click

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_option
from quadrille.cli.session import Session
from quadrille.endpoints import Endpoints, ShopError, decoded, load_settings
from quadrille.output import echo, echo_json

password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)


@click.command()
@click.argument("email", required=False)
@password_option
@json_option
def login(email: str | None, *, password_stdin: bool, as_json: bool) -> None:
    """Asks for what is not given; the password is not displayed. In a script:

      quadrille login admin@example.com --password-stdin < password.txt

    The tokens, never the password, are stored in ~/.config/quadrille/session.json (or below XDG_CONFIG_HOME), for
    each shop by its address; only you can read the file. A session ends thirty days after its last use, or by logout.
    """
    endpoints = Endpoints(load_settings())
    email, password = _credentials(email, password_stdin=password_stdin)
    Session(endpoints).sign_in(email, password)
    shop = str(endpoints.url("order"))
    if as_json:
        echo_json({"email": email, "shop": shop})
    else:
        echo(f"Signed in at {shop} as {email}.")


@click.command()
@click.argument("email", required=False)
@click.option("--name", help="How mails address you.")
@click.option("--locale", type=click.Choice(["en", "ja"]), help="The language of your mails.")
@password_option
@json_option
def register(
    email: str | None, name: str | None, locale: str | None, *, password_stdin: bool, as_json: bool
) -> None:
    """Asks for what is not given, and signs in. A password has eight characters or more. In a script:

    quadrille register jane@example.com --password-stdin < password.txt
    """
    settings = load_settings()
    email, password = _credentials(email, password_stdin=password_stdin, is_new=True)
    fields = {"email": email, "password": password, "name": name, "locale": locale}
    body = {field: value for field, value in fields.items() if value is not None}
    endpoints = Endpoints(settings)
    account = decoded(endpoints.request("POST", "order", "/auth/register", json=body))
    Session(endpoints).sign_in(account["email"], password)
    if as_json:
        echo_json(account)
    else:
        echo(f"Registered, and signed in at {endpoints.url('order')} as {account['email']}.")


@click.command()
@json_option
def logout(*, as_json: bool) -> None:
    """Removes the tokens from this machine and revokes them at the shop."""
    session = Session(Endpoints(load_settings()))
    try:
        email = session.sign_out()
    except ShopError as error:
        message = f"signed out on this machine, but not at the shop: {error.message}"
        raise ShopError(message) from error
    if as_json:
        echo_json({"email": email})
    else:
        echo(f"Signed out {email}." if email else "You were not signed in.")


@click.command()
@json_option
def whoami(*, as_json: bool) -> None:
    customer = Client(load_settings()).get("order", "/auth/me")
    if as_json:
        echo_json(customer)
    else:
        echo(f"{customer['email']}, {customer['role']}, user {customer['userId']}")


def _credentials(
    email: str | None, *, password_stdin: bool, is_new: bool = False
) -> tuple[str, str]:
    if password_stdin:
        if email is None:
            raise click.UsageError("--password-stdin requires the argument EMAIL")
        return email, sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("standard input is not a terminal: use --password-stdin")
    email = email or click.prompt("E-mail", err=True)
    return email, click.prompt("Password", hide_input=True, err=True, confirmation_prompt=is_new)
