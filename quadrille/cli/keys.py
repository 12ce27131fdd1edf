"""`quadrille keys`: the keys that access tokens are signed with."""

from datetime import datetime
from typing import Any

import click

from quadrille.cli.api_client import Client
from quadrille.cli.endpoints import segment, settings
from quadrille.cli.output import console, echo, echo_json, table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def keys(context: click.Context, *, as_json: bool) -> None:
    """List, rotate or revoke the keys that access tokens are signed with.

    \b
    For example:
      quadrille keys                    list them
      quadrille keys rotate             use a new key; tokens of the old one stay good
      quadrille keys revoke KEY_ID      refuse the key's tokens everywhere

    Only the admin may: quadrille login admin@example.com
    """  # noqa: D301 - \b is click's
    if context.invoked_subcommand is None:
        _show(Client(settings()).get("order", "/auth/keys"), as_json=as_json)


@keys.command()
@json_option
def rotate(*, as_json: bool) -> None:
    """Publish a new key. It starts to sign a few seconds later; tokens of the old one stay good."""
    made = Client(settings()).post("order", "/auth/keys", {})
    if as_json:
        echo_json(made)
    else:
        echo(f"{made['keyId']} signs from {_time(made['signsFrom'])}")


@keys.command()
@click.argument("key_id", metavar="KEY_ID")
@json_option
def revoke(key_id: str, *, as_json: bool) -> None:
    """Have every service refuse the key's tokens, for good.

    The current key is replaced at once. Whoever is signed in stays so: their next access token is signed with
    another key.
    """
    client = Client(settings())
    _show(client.delete("order", f"/auth/keys/{segment(key_id)}"), as_json=as_json)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json(found)
        return
    shown = table("key", "status", "signs from")
    for key in found["items"]:
        shown.add_row(key["keyId"], key["status"], _time(key["signsFrom"]))
    console().print(shown)


def _time(moment: str | None) -> str:
    if moment is None:  # a key that somebody else has published
        return "-"
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"
