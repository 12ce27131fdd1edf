"""`quadrille keys`: the keys that sign access tokens."""

from datetime import datetime

import click

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_option
from quadrille.endpoints import Json, load_settings, segment
from quadrille.output import console, echo, echo_json, table


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def keys(context: click.Context, *, as_json: bool) -> None:
    """\b
    For example:
      quadrille keys                    list them
      quadrille keys rotate             use a new key; tokens of the old one stay valid
      quadrille keys revoke KEY_ID      reject the key's tokens everywhere

    Only for the admin: quadrille login admin@example.com
    """
    if context.invoked_subcommand is None:
        _print(Client(load_settings()).get("order", "/auth/keys"), as_json=as_json)


@keys.command()
@json_option
def rotate(*, as_json: bool) -> None:
    """Publish a new key. It signs from a few seconds later; tokens of the old key stay valid."""
    key = Client(load_settings()).post("order", "/auth/keys", {})
    if as_json:
        echo_json(key)
    else:
        echo(f"{key['keyId']} signs from {_time(key['signsFrom'])}")


@keys.command()
@click.argument("key_id", metavar="KEY_ID")
@json_option
def revoke(key_id: str, *, as_json: bool) -> None:
    """Have every service reject the key's tokens permanently.

    The current key is replaced at once. Users stay signed in: their next access token is signed with another key.
    """
    client = Client(load_settings())
    _print(client.delete("order", f"/auth/keys/{segment(key_id)}"), as_json=as_json)


def _print(page: Json, *, as_json: bool) -> None:
    if as_json:
        echo_json(page)
        return
    grid = table("key", "status", "signs from")
    for key in page["items"]:
        grid.add_row(key["keyId"], key["status"], _time(key["signsFrom"]))
    console().print(grid)


def _time(moment: str | None) -> str:
    if moment is None:  # a key that was not published by the order service
        return "-"
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"
