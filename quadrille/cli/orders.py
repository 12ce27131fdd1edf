"""`quadrille order`, `cancel` and `orders`: places an order, requests its cancellation, lists orders."""

from datetime import datetime

import click
from rich.text import Text

from quadrille.cli.api_client import Client
from quadrille.cli.order_watch import print_or_watch
from quadrille.cli.params import json_lines_option, line_items_argument, watch_option
from quadrille.endpoints import Json, load_settings, segment
from quadrille.output import MAX_LIMIT, age, console, echo_page, is_wide, status_style, table
from shared.contracts.order import OrderStatus
from shared.money import money


@click.command()
@line_items_argument
@click.option("--user", help="The user who orders.  [default: you, or a guest]")
@click.option("--email", help="Where mails go.  [default: your address; none for a guest]")
@click.option("--locale", type=click.Choice(["en", "ja"]), help="The language of the mails.")
@watch_option
@json_lines_option
def order(
    lines: tuple[Json, ...],
    user: str | None,
    email: str | None,
    locale: str | None,
    *,
    watch: bool,
    as_json: bool,
) -> None:
    """For example: quadrille order prod001:2 prod002 --watch

    The order is yours if you are signed in. A guest's order can be watched and cancelled by everyone who knows its id.

    \b
    Exit code:
      0  accepted; with --watch: COMPLETED
      1  with --watch: the order ended with another status
      2  not accepted: an invalid argument, a rejection, or a service cannot be reached
      3  with --watch: accepted, but its end was not seen
    """
    fields = {"userId": user, "email": email, "locale": locale, "items": lines}
    body = {name: value for name, value in fields.items() if value is not None}
    client = Client(load_settings())
    order = client.post("order", "/orders", body)
    print_or_watch(client, order, "COMPLETED", watch=watch, as_json=as_json)


@click.command()
@click.argument("order_id", metavar="ORDER_ID")
@click.option("--reason", help="A text that is stored with the order.")
@watch_option
@json_lines_option
def cancel(order_id: str, reason: str | None, *, watch: bool, as_json: bool) -> None:
    """The order is CANCELLING until the shipping service, which alone decides, accepts or rejects the cancellation: once
    the carrier has the order, it is too late and the order continues. A repeated request changes nothing. A guest's
    order can be cancelled by everyone who knows its id, a customer's by the customer and the admin.

    \b
    Exit code:
      0  requested; with --watch: CANCELLED
      1  with --watch: too late, or the order ended with another status
      2  rejected: an unknown or final order, or a service cannot be reached
      3  with --watch: requested, but the order's end was not seen
    """
    client = Client(load_settings())
    order = client.post("order", f"/orders/{segment(order_id)}/cancel", {"reason": reason})
    print_or_watch(client, order, "CANCELLED", watch=watch, as_json=as_json)


@click.command()
@click.option("--user", help="Only the orders of this user.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in OrderStatus], case_sensitive=False),
    metavar="STATUS",
    help="Only orders with this status, e.g. completed.",
)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True)
@json_lines_option
def orders(user: str | None, status: str | None, limit: int, *, as_json: bool) -> None:
    """Customers see their own orders, the admin sees all."""
    client = Client(load_settings())
    page = client.get("read", "/orders", userId=user, status=status, limit=limit)
    echo_page(page, _print, "No orders.", as_json=as_json)


def _print(orders: list[Json]) -> None:
    """At 80 columns only the user's name may be cut; a wide console has the items too."""
    columns = ("order", "status", "total", "age", "user")
    grid = table(*columns, *(["items"] if is_wide() else []), right=(2, 3))
    for order in orders:
        cells = [
            order["orderId"],
            order["status"],
            money(order["totalAmount"], order["currency"]),
            age(datetime.fromisoformat(order["createdAt"])),
        ]
        for column, cell in zip(grid.columns, cells, strict=False):
            column.min_width = max(column.min_width or 0, len(cell))
        order_id, status, *amounts = cells
        items = [_items(order)] if is_wide() else []
        grid.add_row(
            order_id, Text(status, status_style(status)), *amounts, order["userId"], *items
        )
    console().print(grid)


def _items(order: Json) -> str:
    return " ".join(f"{item['productId']}:{item['quantity']}" for item in order["items"])
