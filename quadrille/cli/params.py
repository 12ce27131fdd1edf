"""Arguments and options that several commands take."""

import click
import msgspec

from quadrille.endpoints import SERVICES, Json

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
json_lines_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, one document per line."
)
watch_option = click.option(
    "--watch", is_flag=True, help="Follow the order until its stock and mails are settled."
)
services_argument = click.argument(
    "services",
    metavar="[SERVICE]...",
    nargs=-1,
    type=click.Choice(SERVICES),
)
order_argument = click.argument("order", metavar="ORDER")
"""The id of an order or its number; `order_ids` finds the id."""
product_argument = click.argument("product_id", metavar="PRODUCT_ID")


class LineItemParam(click.ParamType[Json]):
    """`prod001:2`, or `prod001` for a quantity of 1; converted to the order service's JSON."""

    name = "product:quantity"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Json:
        product_id, _, quantity = str(value).partition(":")
        if not product_id:
            self.fail(f"{value!r} has no product id; an example is prod001:2", param, ctx)
        if quantity and not (quantity.isascii() and quantity.isdigit() and int(quantity)):
            message = f"{value!r}: {quantity!r} is not a quantity; an example is {product_id}:2"
            self.fail(message, param, ctx)
        return {"productId": product_id, "quantity": int(quantity or 1)}


class AddressParam(click.ParamType[Json]):
    """An address as JSON, or the name of one in the address book; converted to fields of an order."""

    name = "json|name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Json:
        text = str(value)
        if not text.startswith("{"):
            return {"addressName": text}
        try:
            return {"shippingAddress": msgspec.json.decode(text)}
        except msgspec.DecodeError as error:
            self.fail(f"not JSON: {error}", param, ctx)


address_option = click.option(
    "--address",
    metavar="NAME|JSON",
    type=AddressParam(),
    help="Where to ship to: a name of your address book, or"
    """ '{"name": …, "lines": [1 to 3 lines], "postcode": …, "city": …, "country": "JP"}'.""",
)

line_items_argument = click.argument(
    "lines", metavar="PRODUCT[:QUANTITY]...", nargs=-1, required=True, type=LineItemParam()
)
