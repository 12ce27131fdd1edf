"""`quadrille product`: adds, changes, deletes and restores products."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_option, product_argument
from quadrille.endpoints import Json, load_settings, segment
from quadrille.output import echo, echo_json
from shared.money import decimals, money

DESCRIPTION = ("name", "description", "price", "category", "imageUrl")
"""What `PUT /products/{id}` replaces."""
MAX_STOCK = 1_000_000
MAX_PRICE = 1_000_000_000

Command = Callable[..., Any]


class PriceParam(click.ParamType[Decimal]):
    """An amount in the currency's unit: `5000`, `49.90`."""

    name = "price"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        try:
            price = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is not an amount", param, ctx)
        if not price.is_finite() or not 0 <= price <= MAX_PRICE:
            self.fail(f"{value!r} is not an amount", param, ctx)
        return price


def description_options(*, required: bool) -> Callable[[Command], Command]:
    """The options of a product's description, in the order of the help."""
    options = (
        click.option("--name", required=required),
        click.option("--price", type=PriceParam(), required=required, help="As 5000 or 49.90."),
        click.option("--description"),
        click.option("--category"),
        click.option("--image-url", help="The web address of a picture."),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def product() -> None:
    """\b
    For example:
      quadrille product add lamp01 --name "Desk lamp" --price 4500 --stock 20
      quadrille product update lamp01 --price 3900
      quadrille product delete lamp01
      quadrille product restore lamp01

    `quadrille products` lists them, `quadrille stock` changes how many there are.

    Only for the admin: quadrille login admin@example.com
    """


@product.command()
@click.argument("product_id", metavar="[PRODUCT_ID]", required=False)
@description_options(required=True)
@click.option("--stock", type=click.IntRange(0, MAX_STOCK), help="How many there are at first.")
@json_option
def add(product_id: str | None, stock: int | None, *, as_json: bool, **description: Any) -> None:  # noqa: ANN401 - of click
    """Put a product on sale; without an id it gets one."""
    client = Client(load_settings())
    body = {"productId": product_id, "stock": stock, **_fields(client, description)}
    given = {name: value for name, value in body.items() if value is not None}
    _print(client, client.post("inventory", "/products", given), as_json=as_json)


@product.command()
@product_argument
@description_options(required=False)
@json_option
def update(product_id: str, *, as_json: bool, **description: Any) -> None:  # noqa: ANN401 - of click
    """Change what is named, and nothing else. `--category ""` and `--image-url ""` remove theirs."""
    client = Client(load_settings())
    changes = _fields(client, description)
    if not changes:
        raise click.UsageError("name what is to be changed, e.g. --price")

    def changed(current: Json) -> Json:
        return {name: current[name] for name in DESCRIPTION} | changes

    changed_product = client.edit("inventory", f"/products/{segment(product_id)}", changed)
    _print(client, changed_product, as_json=as_json)


@product.command()
@product_argument
@json_option
def delete(product_id: str, *, as_json: bool) -> None:
    """Take a product off sale; orders that have it are delivered, and `restore` brings it back."""
    client = Client(load_settings())
    client.delete("inventory", f"/products/{segment(product_id)}")
    if as_json:
        echo_json({"productId": product_id})
    else:
        echo(f"{product_id} is deleted.")


@product.command()
@product_argument
@json_option
def restore(product_id: str, *, as_json: bool) -> None:
    """Put a deleted product on sale again."""
    client = Client(load_settings())
    restored = client.post("inventory", f"/products/{segment(product_id)}/restore", {})
    _print(client, restored, as_json=as_json)


def _fields(client: Client, description: dict[str, Any]) -> dict[str, Any]:
    """The service's JSON of the options that were given."""
    price = description["price"]
    fields = {
        "name": description["name"],
        "price": None if price is None else _minor_units(price, client.settings.currency),
        "description": description["description"],
        "category": description["category"],
        "imageUrl": description["image_url"],
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return given | {name: None for name in ("category", "imageUrl") if given.get(name) == ""}


def _minor_units(price: Decimal, currency: str) -> int:
    amount = price.scaleb(decimals(currency))
    if amount != int(amount):
        places = decimals(currency)
        message = f"{price} has more than {places} decimals, which {currency} does not have"
        raise click.UsageError(f"--price: {message}")
    return int(amount)


def _print(client: Client, product: Json, *, as_json: bool) -> None:
    if as_json:
        echo_json(product)
        return
    price = money(product["price"], client.settings.currency)
    echo(f"{product['productId']}: {product['name']}, {price}, {product['available']:,} available")
