"""`quadrille stock`: adds stock of a product, and writes it off."""

import click

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_option, product_argument
from quadrille.endpoints import load_settings, segment
from quadrille.output import echo, echo_json

MAX_QUANTITY = 1_000_000

reason_option = click.option("--reason", help="A text that is stored with the event.")


@click.group()
def stock() -> None:
    """Only for the admin: quadrille login admin@example.com"""


@stock.command(context_settings={"ignore_unknown_options": True})  # -2 is a quantity
@product_argument
@click.argument("quantity", type=click.IntRange(-MAX_QUANTITY, MAX_QUANTITY))
@reason_option
@json_option
def add(product_id: str, quantity: int, reason: str | None, *, as_json: bool) -> None:
    """Add this quantity of a product.

    \b
    For example:
      quadrille stock add prod001 20
      quadrille stock add prod001 -2 --reason "count was wrong"

    A negative quantity is written off, as by `stock remove`.
    """
    _change(product_id, quantity, reason, as_json=as_json)


@stock.command()
@product_argument
@click.argument("quantity", type=click.IntRange(1, MAX_QUANTITY))
@reason_option
@json_option
def remove(product_id: str, quantity: int, reason: str | None, *, as_json: bool) -> None:
    """Write off this quantity of a product, but never what is reserved for orders."""
    _change(product_id, -quantity, reason, as_json=as_json)


def _change(product_id: str, quantity: int, reason: str | None, *, as_json: bool) -> None:
    body = {"quantity": quantity, "reason": reason}
    path = f"/products/{segment(product_id)}/stock"
    product = Client(load_settings()).post("inventory", path, body)
    if as_json:
        echo_json(product)
        return
    echo(
        f"{product['productId']}: {product['onHand']:,} on hand, "
        f"{product['reserved']:,} reserved, {product['available']:,} available"
    )
