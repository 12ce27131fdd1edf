"""`quadrille products`: lists the catalogue."""

from functools import partial

import click

from quadrille.cli.api_client import Client
from quadrille.endpoints import Json, load_settings
from quadrille.output import MAX_LIMIT, console, echo_page, is_wide, table
from shared.money import money

SORTINGS = ("name", "price", "-price", "available", "-available", "newest")


@click.command()
@click.option("--search", metavar="WORDS", help="Only products with these in name or description.")
@click.option("--category", help="Only products of this category.")
@click.option("--in-stock", is_flag=True, help="Only products of which some are available.")
@click.option(
    "--sort",
    type=click.Choice(SORTINGS),
    help="The order; `-` stands for the highest first.  [default: by id]",
)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one product per line.")
def products(
    search: str | None,
    category: str | None,
    in_stock: bool,
    sort: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """For example: quadrille products --search keyboard --in-stock --sort price

    "available" can be ordered now; "reserved" is in stock too, but promised to open orders.
    """
    client = Client(load_settings())
    chosen = {"q": search, "category": category, "inStock": "true" if in_stock else None}
    page = client.get("read", "/products", **chosen, sort=sort, limit=limit)
    none = "No such products." if any(chosen.values()) else "No products."
    print_products = partial(_print, currency=client.settings.currency)
    echo_page(page, print_products, none, as_json=as_json)


def _print(products: list[Json], currency: str) -> None:
    columns = ("product", "price", "available", "reserved", "name")
    details = ("category", "description") if is_wide() else ()
    grid = table(*columns, *details, right=(1, 2, 3))
    for product in products:
        grid.add_row(
            product["productId"],
            money(product["price"], currency),
            f"{product['available']:,}",
            f"{product['reserved']:,}",
            product["name"],
            *[product[name] or "" for name in details],
        )
    console().print(grid)
