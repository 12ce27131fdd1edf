"""`quadrille products`: what is sold."""

from typing import Any

import click

from quadrille.cli.api_client import Client
from quadrille.cli.endpoints import settings
from quadrille.cli.output import console, echo, echo_json, is_wide, money, table


@click.command()
@click.option("--search", metavar="WORDS", help="Only those whose name or description has them.")
@click.option("--category", help="Only those of this category.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one product per line.")
def products(search: str | None, category: str | None, limit: int, *, as_json: bool) -> None:
    """List what is sold, with its stock.

    For example: quadrille products --search keyboard --category keyboards

    "free" is what can be ordered now; "held" is there too, but promised to orders under way.
    """
    known = settings()
    page = Client(known).get("read", "/products", q=search, category=category, limit=limit)
    if as_json:
        for product in page["items"]:
            echo_json(product)
        return
    if not page["items"]:
        echo("No such products." if search or category else "No products.")
        return
    _list(page["items"], known.currency)
    if page["nextCursor"]:
        echo("… and more; --limit shows up to 200 of them.", "dim")


def _list(found: list[dict[str, Any]], currency: str) -> None:
    columns = ("product", "price", "free", "held", "name")
    shown = table(*columns, "category", "description") if is_wide() else table(*columns)
    for column in shown.columns[1:4]:
        column.justify = "right"
    for each in found:
        more = [each["category"] or "", each["description"]] if is_wide() else []
        free, held = each["available"], each["reserved"]
        price = money(each["price"], currency)
        shown.add_row(each["productId"], price, f"{free:,}", f"{held:,}", each["name"], *more)
    console().print(shown)
