"""`quadrille addresses`: the address book of the signed-in customer."""

import click
import msgspec

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_option
from quadrille.endpoints import Json, load_settings, segment
from quadrille.output import console, echo, echo_json, table

PATH = "/me/addresses"
name_argument = click.argument("name")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def addresses(context: click.Context, *, as_json: bool) -> None:
    """\b
    For example:
      quadrille login jane@example.com
      quadrille addresses save home '{"name": "Jane Doe", "lines": ["1 Main Street"],
                                      "postcode": "8001", "city": "Zurich", "country": "CH"}'
      quadrille order prod001 --address home
    """
    if context.invoked_subcommand is None:
        _print(Client(load_settings()).get("order", PATH), as_json=as_json)


@addresses.command()
@name_argument
@click.argument("address", metavar="JSON")
@json_option
def save(name: str, address: str, *, as_json: bool) -> None:
    """Add an address, or replace the one of this name."""
    try:
        body = msgspec.json.decode(address)
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="JSON") from error
    client = Client(load_settings())
    saved = client.put("order", f"{PATH}/{segment(name)}", body)
    _print({"items": [saved]}, as_json=as_json)


@addresses.command()
@name_argument
@json_option
def remove(name: str, *, as_json: bool) -> None:
    """Remove an address. Orders that were placed with it keep it."""
    client = Client(load_settings())
    _print(client.delete("order", f"{PATH}/{segment(name)}"), as_json=as_json)


def _print(book: Json, *, as_json: bool) -> None:
    if as_json:
        echo_json(book)
    elif not book["items"]:
        echo("The address book is empty.")
    else:
        grid = table("name", "address")
        for item in book["items"]:
            grid.add_row(item["name"], _one_line(item["address"]))
        console().print(grid)


def _one_line(address: Json) -> str:
    city = f"{address['postcode']} {address['city']}"
    return ", ".join([address["name"], *address["lines"], city, address["country"]])
