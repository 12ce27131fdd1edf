"""`quadrille cart`: fills a cart and orders its content."""

import click

from quadrille.cli.api_client import Client
from quadrille.cli.order_watch import print_or_watch
from quadrille.cli.orders import post_order
from quadrille.cli.params import (
    LineItemParam,
    address_option,
    json_lines_option,
    json_option,
    line_items_argument,
    product_argument,
    watch_option,
)
from quadrille.endpoints import Json, load_settings, segment
from quadrille.output import echo, echo_json, print_items


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def cart(context: click.Context, *, as_json: bool) -> None:
    """\b
    For example:
      quadrille login jane@example.com
      quadrille cart
      quadrille cart add prod001:2 prod002
      quadrille cart checkout --address home --watch

    Only signed-in users have a cart. A guest orders without one: quadrille order --help
    """
    if context.invoked_subcommand is None:
        _show(as_json=as_json)


@cart.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show the cart, at the prices at which it was filled."""
    _show(as_json=as_json)


def _show(*, as_json: bool) -> None:
    _print(Client(load_settings()).get("order", "/cart"), as_json=as_json)


@cart.command()
@line_items_argument
@json_option
def add(lines: tuple[Json, ...], *, as_json: bool) -> None:
    """Add products, one after the other, at their current prices."""
    client = Client(load_settings())
    for line in lines:
        content = client.post("order", "/cart/items", line)
    _print(content, as_json=as_json)


@cart.command("set")
@click.argument("line", metavar="PRODUCT:QUANTITY", type=LineItemParam())
@json_option
def change(line: Json, *, as_json: bool) -> None:
    """Set the quantity of a product, at its current price."""
    path = f"/cart/items/{segment(line['productId'])}"
    body = {"quantity": line["quantity"]}
    _print(Client(load_settings()).put("order", path, body), as_json=as_json)


@cart.command()
@product_argument
@json_option
def remove(product_id: str, *, as_json: bool) -> None:
    """Remove a product."""
    path = f"/cart/items/{segment(product_id)}"
    _print(Client(load_settings()).delete("order", path), as_json=as_json)


@cart.command()
@json_option
def clear(*, as_json: bool) -> None:
    """Remove all products."""
    _print(Client(load_settings()).delete("order", "/cart"), as_json=as_json)


@cart.command()
@address_option
@watch_option
@json_lines_option
def checkout(address: Json | None, *, watch: bool, as_json: bool) -> None:
    """Order the content of the cart, and empty it.

    If a price has changed since, nothing is ordered: `cart show` names it, `cart set` accepts it.

    \b
    Exit code:
      0  accepted; with --watch: COMPLETED
      1  not accepted: an empty cart, a changed price, or a service cannot be reached;
         with --watch also: the order ended with another status
      3  with --watch: accepted, but its end was not seen
    """
    client = Client(load_settings())
    order = post_order(client, "/cart/checkout", address or {})
    print_or_watch(client, order, "COMPLETED", watch=watch, as_json=as_json)


def _print(content: Json, *, as_json: bool) -> None:
    if as_json:
        echo_json(content)
    elif content["items"]:
        print_items(content)
    else:
        echo("The cart is empty.")
