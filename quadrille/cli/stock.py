"""`quadrille stock`: filling the shelves, and clearing them."""

import click

from quadrille.cli.api_client import Client
from quadrille.cli.endpoints import segment, settings
from quadrille.cli.output import echo, echo_json

MOST = 1_000_000
AT_ONCE = click.IntRange(1, MOST)

reason_option = click.option("--reason", help="Why; it is kept with the event.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def stock() -> None:
    """Add to the stock, or write off.

    Only the admin may: quadrille login admin@example.com
    """


@stock.command(context_settings={"ignore_unknown_options": True})  # -2 is none
@click.argument("product_id", metavar="PRODUCT_ID")
@click.argument("quantity", type=click.IntRange(-MOST, MOST))
@reason_option
@json_option
def add(product_id: str, quantity: int, reason: str | None, *, as_json: bool) -> None:
    """Put so many more of a product on its shelf.

    \b
    For example:
      quadrille stock add prod001 20
      quadrille stock add prod001 -2 --reason "count was wrong"

    A negative quantity writes off, as `stock remove` does.
    """  # noqa: D301 - \b is click's
    _change(product_id, quantity, reason, as_json=as_json)


@stock.command()
@click.argument("product_id", metavar="PRODUCT_ID")
@click.argument("quantity", type=AT_ONCE)
@reason_option
@json_option
def remove(product_id: str, quantity: int, reason: str | None, *, as_json: bool) -> None:
    """Write off so many of a product; never below what orders hold."""
    _change(product_id, -quantity, reason, as_json=as_json)


def _change(product_id: str, quantity: int, reason: str | None, *, as_json: bool) -> None:
    body = {"quantity": quantity, "reason": reason}
    changed = Client(settings()).post("inventory", f"/products/{segment(product_id)}/stock", body)
    if as_json:
        echo_json(changed)
        return
    held, free = changed["reserved"], changed["available"]
    echo(f"{changed['productId']}: {changed['onHand']:,} there, {held:,} held, {free:,} free")
