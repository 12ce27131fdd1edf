"""`quadrille order`, `cancel` and `orders`: placing an order, taking it back, and looking at many."""

from datetime import datetime
from typing import Any

import click
from rich.text import Text

from order_service.orders.domain import Status
from quadrille.cli.api_client import Client
from quadrille.cli.endpoints import segment, settings
from quadrille.cli.order_watch import accepted
from quadrille.cli.output import age, console, echo, echo_json, is_wide, money, status_style, table
from quadrille.cli.params import LineItemParam


@click.command()
@click.argument(
    "lines", metavar="PRODUCT[:QUANTITY]...", nargs=-1, required=True, type=LineItemParam()
)
@click.option("--user", help="Who orders; you if you are signed in, else a guest.")
@click.option(
    "--email", help="Where the mails go; your own address if you are signed in, else nowhere."
)
@click.option("--locale", type=click.Choice(["en", "ja"]), help="The language of the mails.")
@click.option(
    "--watch", is_flag=True, help="Follow the order until everything about it is settled."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one document per line.")
def order(
    lines: tuple[dict[str, object], ...],
    user: str | None,
    email: str | None,
    locale: str | None,
    *,
    watch: bool,
    as_json: bool,
) -> None:
    """Place an order.

    For example: quadrille order prod001:2 prod002 --watch

    It is yours if you are signed in, else a guest's: then whoever knows its id may watch and cancel it.

    \b
    Exit code:
      0  accepted; with --watch: COMPLETED
      1  with --watch: it ended otherwise
      2  it was not accepted: a bad argument, a refusal, or the shop is not up
      3  with --watch: it was accepted, but lost sight of before it ended
    """  # noqa: D301 - \b is click's
    known = settings()
    client = Client(known)
    wanted = {"userId": user, "email": email, "locale": locale, "items": lines}
    body = {name: value for name, value in wanted.items() if value is not None}
    placed = client.post("order", "/orders", body)
    accepted(client, known, placed, "COMPLETED", watch=watch, as_json=as_json)


@click.command()
@click.argument("order_id", metavar="ORDER_ID")
@click.option("--reason", help="Why, in your own words; it is kept with the order.")
@click.option(
    "--watch", is_flag=True, help="Follow the order until everything about it is settled."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one document per line.")
def cancel(order_id: str, reason: str | None, *, watch: bool, as_json: bool) -> None:
    """Ask for an order to be cancelled.

    The order is CANCELLING until shipping has decided: once the carrier has it, it is too late, and the order
    goes on. Asking twice is asking once. A guest's order is anybody's who knows its id, a customer's his own.

    \b
    Exit code:
      0  asked for; with --watch: CANCELLED
      1  with --watch: it was too late, or it ended otherwise
      2  refused: there is no such order, it is final, or the shop is not up
      3  with --watch: it was asked for, but the order was lost sight of before it ended
    """  # noqa: D301 - \b is click's
    known = settings()
    client = Client(known)
    asked = client.post("order", f"/orders/{segment(order_id)}/cancel", {"reason": reason})
    accepted(client, known, asked, "CANCELLED", watch=watch, as_json=as_json)


@click.command()
@click.option("--user", help="Only this user's.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in Status], case_sensitive=False),
    metavar="STATUS",
    help="Only those that stand so, e.g. completed.",
)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one order per line.")
def orders(user: str | None, status: str | None, limit: int, *, as_json: bool) -> None:
    """List orders, newest first.

    Your own, once you are signed in; an admin sees everybody's.
    """
    client = Client(settings())
    page = client.get("read", "/orders", userId=user, status=status, limit=limit)
    if as_json:
        for found in page["items"]:
            echo_json(found)
        return
    if not page["items"]:
        echo("No orders.")
        return
    _list(page["items"])
    if page["nextCursor"]:
        echo("… and more; --limit shows up to 200 of them.", "dim")


def _list(found: list[dict[str, Any]]) -> None:
    """At 80 columns only the user's name may be cut short; items are shown where there is room."""
    columns = ("order", "status", "total", "age", "user")
    shown = table(*columns, "items") if is_wide() else table(*columns)
    shown.columns[2].justify = shown.columns[3].justify = "right"
    for each in found:
        items = " ".join(f"{item['productId']}:{item['quantity']}" for item in each["items"])
        row = [
            each["orderId"],
            each["status"],
            money(each["totalAmount"], each["currency"]),
            age(datetime.fromisoformat(each["createdAt"])),
        ]
        for column, cell in zip(shown.columns, row, strict=False):
            column.min_width = max(column.min_width or 0, len(cell))
        more = [each["userId"], items] if is_wide() else [each["userId"]]
        shown.add_row(row[0], Text(row[1], status_style(row[1])), *row[2:], *more)
    console().print(shown)
