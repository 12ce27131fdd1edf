"""`quadrille cart`: gathering, and ordering it all at once."""

from typing import Any

import click

from quadrille.cli.api_client import Client
from quadrille.cli.endpoints import segment, settings
from quadrille.cli.invoice import show_bill
from quadrille.cli.order_watch import accepted
from quadrille.cli.output import echo, echo_json
from quadrille.cli.params import LineItemParam

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
product_argument = click.argument("product_id", metavar="PRODUCT_ID")


@click.group()
def cart() -> None:
    """Fill a cart, and check it out.

    \b
    For example:
      quadrille login jane@example.com
      quadrille cart add prod001:2 prod002
      quadrille cart checkout --watch

    The cart is yours: sign in first. A guest orders without one: quadrille order prod001:2
    """  # noqa: D301 - \b is click's


@cart.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show what is in it, at the prices it was filled at."""
    _show(Client(settings()).get("order", "/cart"), as_json=as_json)


@cart.command()
@click.argument(
    "lines", metavar="PRODUCT[:QUANTITY]...", nargs=-1, required=True, type=LineItemParam()
)
@json_option
def add(lines: tuple[dict[str, object], ...], *, as_json: bool) -> None:
    """Put more in, one product after the other, at the present prices."""
    client = Client(settings())
    for line in lines:
        filled = client.post("order", "/cart/items", line)
    _show(filled, as_json=as_json)


@cart.command("set")
@click.argument("line", metavar="PRODUCT:QUANTITY", type=LineItemParam())
@json_option
def change(line: dict[str, object], *, as_json: bool) -> None:
    """Have just so many of a product in it, at the present price."""
    path = f"/cart/items/{segment(str(line['productId']))}"
    body = {"quantity": line["quantity"]}
    _show(Client(settings()).put("order", path, body), as_json=as_json)


@cart.command()
@product_argument
@json_option
def remove(product_id: str, *, as_json: bool) -> None:
    """Take all of a product out."""
    path = f"/cart/items/{segment(product_id)}"
    _show(Client(settings()).delete("order", path), as_json=as_json)


@cart.command()
@json_option
def clear(*, as_json: bool) -> None:
    """Take everything out."""
    _show(Client(settings()).delete("order", "/cart"), as_json=as_json)


@cart.command()
@click.option(
    "--watch", is_flag=True, help="Follow the order until everything about it is settled."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one document per line.")
def checkout(*, watch: bool, as_json: bool) -> None:
    """Order what is in it, and empty it.

    When a price has changed since, nothing is ordered: `cart show` tells which, `cart set` accepts it.

    \b
    Exit code:
      0  accepted; with --watch: COMPLETED
      1  with --watch: it ended otherwise
      2  it was not accepted: an empty cart, a changed price, or the shop is not up
      3  with --watch: it was accepted, but lost sight of before it ended
    """  # noqa: D301 - \b is click's
    known = settings()
    client = Client(known)
    placed = client.post("order", "/cart/checkout", {})
    accepted(client, known, placed, "COMPLETED", watch=watch, as_json=as_json)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json(found)
    elif found["items"]:
        show_bill(found)
    else:
        echo("The cart is empty.")
