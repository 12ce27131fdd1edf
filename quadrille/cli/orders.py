"""`quadrille order`, `cancel` and `orders`: places an order or shows one, requests its cancellation, lists orders."""

from datetime import datetime

import click
from click.shell_completion import CompletionItem
from rich.text import Text

from quadrille.cli.api_client import Client
from quadrille.cli.order_ids import find_order_id
from quadrille.cli.order_watch import print_or_watch
from quadrille.cli.params import (
    address_option,
    json_lines_option,
    json_option,
    line_items_argument,
    order_argument,
    watch_option,
)
from quadrille.endpoints import Json, ShopError, load_settings, segment
from quadrille.output import (
    MAX_LIMIT,
    age,
    console,
    echo_json,
    echo_page,
    is_wide,
    local_time,
    print_order,
    status_style,
    table,
)
from shared.contracts.order import OrderStatus
from shared.money import money

PLACE = "place"
NO_ADDRESS = "shippingAddress: required"


class OrderGroup(click.Group):
    """Places an order unless the first argument is the name of another command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_named = bool(args) and args[0] in {*self.commands, *ctx.help_option_names}
        is_completed = not args and ctx.resilient_parsing
        return super().parse_args(ctx, args if is_named or is_completed else [PLACE, *args])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if not incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        place = self.commands[PLACE]
        return place.shell_complete(click.Context(place, parent=ctx), incomplete)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return ["[OPTIONS]", "PRODUCT[:QUANTITY]..."]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        place = self.commands[PLACE]
        place.format_options(click.Context(place, parent=ctx), formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=OrderGroup)
def order() -> None:
    """\b
    For example:
      quadrille order prod001:2 --address home --watch   order and follow it
      quadrille order show 7K3F-92QM                     show an order
      quadrille order place show --address home          order the product `show`

    The order is yours if you are signed in. A guest's order can be shown, watched and cancelled by everyone who knows
    its id.

    \b
    Exit code:
      0  accepted; with --watch: COMPLETED
      1  not accepted: a rejection, or a service cannot be reached;
         with --watch also: the order ended with another status
      2  an invalid argument
      3  with --watch: accepted, but its end was not seen
    """


@order.command(PLACE)
@line_items_argument
@click.option("--user", help="The user who orders.  [default: you, or a guest]")
@click.option("--email", help="Where mails go.  [default: your address; none for a guest]")
@click.option("--locale", type=click.Choice(["en", "ja"]), help="The language of the mails.")
@address_option
@watch_option
@json_lines_option
def place(
    lines: tuple[Json, ...],
    user: str | None,
    email: str | None,
    locale: str | None,
    address: Json | None,
    *,
    watch: bool,
    as_json: bool,
) -> None:
    """Place an order; the word `place` may be omitted."""
    fields = {"userId": user, "email": email, "locale": locale, "items": lines, **(address or {})}
    body = {name: value for name, value in fields.items() if value is not None}
    client = Client(load_settings())
    order = post_order(client, "/orders", body)
    print_or_watch(client, order, "COMPLETED", watch=watch, as_json=as_json)


def post_order(client: Client, path: str, body: Json) -> Json:
    """The order that was placed. Raises ShopError."""
    try:
        return client.post("order", path, body)
    except ShopError as error:
        if error.message == NO_ADDRESS:
            hint = "an order needs an address: name it with --address, see --help"
            raise ShopError(hint) from error
        raise


@order.command()
@order_argument
@json_option
def show(order: str, *, as_json: bool) -> None:
    """Show an order with its stock, shipment and mails.

    Its events: quadrille events --order 7K3F-92QM
    """
    client = Client(load_settings())
    document = client.get("read", f"/orders/{segment(find_order_id(client, order))}")
    if as_json:
        echo_json(document)
    else:
        _print_detail(document)


def _print_detail(order: Json) -> None:
    print_order(order)
    shipment, reservation = order["shipment"], order["reservation"]
    facts = {
        "reason": order["reason"],
        "placed": local_time(order["createdAt"]),
        "changed": local_time(order["updatedAt"]),
        "mails to": order["email"],
        "stock": reservation and reservation["status"],
        "shipment": shipment and shipment["status"],
        "carrier": shipment and shipment["carrier"],
        "tracking": order["trackingNumber"] or (shipment and shipment["trackingNumber"]),
    }
    grid = table("fact", "value")
    grid.show_header = False
    for name, value in facts.items():
        if value:
            grid.add_row(Text(f"  {name}", "dim"), value)
    for mail in order["notifications"]:
        outcome = f"{mail['template']} {mail['status']} {mail['error'] or ''}".rstrip()
        grid.add_row(Text("  mail", "dim"), outcome)
    console().print(grid)


@click.command()
@order_argument
@click.option(
    "--reason",
    help="Why; the customer may read it, and the mail of the shop's cancellation quotes it.",
)
@click.option("--note", help="Why, for the shop only: operators and admins may write and read it.")
@watch_option
@json_lines_option
def cancel(order: str, reason: str | None, note: str | None, *, watch: bool, as_json: bool) -> None:
    """The order is CANCELLING until the shipping service, which alone decides, accepts or rejects the cancellation: once
    the carrier has the order, it is too late and the order continues. A repeated request changes nothing. A guest's
    order can be cancelled by everyone who knows its id, a customer's by the customer and the admin.

    \b
    Exit code:
      0  requested; with --watch: CANCELLED
      1  rejected: an unknown or final order, or a service cannot be reached;
         with --watch also: too late, or the order ended with another status
      3  with --watch: requested, but the order's end was not seen
    """
    client = Client(load_settings())
    path = f"/orders/{segment(find_order_id(client, order))}/cancel"
    cancelled = client.post("order", path, {"reason": reason, "note": note})
    print_or_watch(client, cancelled, "CANCELLED", watch=watch, as_json=as_json)


@click.command()
@click.option("--user", help="Only the orders of this user.")
@click.option("--email", help="Only those of this address or its customer; for operators.")
@click.option("--product", metavar="PRODUCT_ID", help="Only orders with this product.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in OrderStatus], case_sensitive=False),
    metavar="STATUS",
    help="Only orders with this status, e.g. completed.",
)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True)
@json_lines_option
def orders(
    user: str | None,
    email: str | None,
    product: str | None,
    status: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Customers see their own orders, the admin sees all."""
    client = Client(load_settings())
    query = {"userId": user, "email": email, "productId": product, "status": status}
    page = client.get("read", "/orders", **query, limit=limit)
    echo_page(page, print_orders, "No orders.", as_json=as_json)


def print_orders(orders: list[Json]) -> None:
    """At 80 columns only the user's name may be cut; a wide console has the id, the items and who cancelled too."""
    columns = ("number", "status", "total", "age", "user")
    grid = table(*columns, *(["order", "items"] if is_wide() else []), right=(2, 3))
    for order in orders:
        cells = [
            order["orderNumber"],
            _status(order),
            money(order["totalAmount"], order["currency"]),
            age(datetime.fromisoformat(order["createdAt"])),
        ]
        for column, cell in zip(grid.columns, cells, strict=False):
            column.min_width = max(column.min_width or 0, len(cell))
        number, status, *amounts = cells
        details = [order["orderId"], _items(order)] if is_wide() else []
        grid.add_row(
            number, Text(status, status_style(order["status"])), *amounts, order["userId"], *details
        )
    console().print(grid)


def _status(order: Json) -> str:
    status: str = order["status"]
    cancellation = order.get("cancellation")
    return f"{status} ({cancellation['by'].lower()})" if cancellation and is_wide() else status


def _items(order: Json) -> str:
    return " ".join(f"{item['productId']}:{item['quantity']}" for item in order["items"])
