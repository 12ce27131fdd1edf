"""`quadrille order` and `quadrille orders`: placing an order, watching it, and looking at many."""

import sys
from datetime import datetime
from typing import Any

import click
from rich.text import Text

from order_service.domain.orders import Status
from quadrille.client import Client, ShopError, run, settings
from quadrille.terminal import age, console, is_wide, money, say, say_json, status_style, table
from quadrille.watch import Saga, watch_order

ENDED_OTHERWISE = 1
LOST = 3


class LostSightError(ShopError):
    """The order was accepted, but can not be watched to its end."""

    exit_code = LOST


class Line(click.ParamType[dict[str, object]]):
    """`prod001:2`; the quantity is 1 where none is given."""

    name = "product:quantity"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> dict[str, object]:
        """As the order service wants it."""
        product_id, _, quantity = str(value).partition(":")
        if not product_id:
            self.fail(f"{value!r} names no product; say it like prod001:2", param, ctx)
        if quantity and not (quantity.isascii() and quantity.isdigit() and int(quantity)):
            self.fail(
                f"{value!r}: {quantity!r} is no quantity; say it like {product_id}:2", param, ctx
            )
        return {"productId": product_id, "quantity": int(quantity or 1)}


@click.command()
@click.argument("lines", metavar="PRODUCT[:QUANTITY]...", nargs=-1, required=True, type=Line())
@click.option("--user", help="Who orders; a guest by default.")
@click.option("--email", help="Where the mails go; without it none are sent.")
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
    if not watch:
        say_json(placed) if as_json else _show(placed)
        return
    if not as_json:
        _show(placed)
        say("")
    try:
        saga = run(watch_order(client, placed, known.deadline_seconds, as_json=as_json))
        if as_json:
            say_json(client.get("read", f"/orders/{placed['orderId']}"))
    except ShopError as error:
        raise LostSightError(error.message) from error
    sys.exit(_verdict(saga, as_json=as_json))


def _show(placed: dict[str, Any]) -> None:
    say(f"Order {placed['orderId']} of {placed['userId']}: {placed['status']}")
    shown = table("quantity", "product", "price", "total")
    shown.show_header = False
    currency = placed["currency"]
    for item in placed["items"]:
        shown.add_row(
            f"  {item['quantity']:>4} ×",  # noqa: RUF001 - the sign for times
            item.get("name") or item["productId"],
            money(item["price"], currency),
            money(item["price"] * item["quantity"], currency),
        )
    shown.add_row("", "", "", money(placed["totalAmount"], currency))
    for column in shown.columns[2:]:
        column.justify = "right"
    console().print(shown)


def _verdict(saga: Saga, *, as_json: bool) -> int:
    if not as_json:
        say("")
        if saga.status is None:
            say("It has said nothing for too long, and is not finished.", "yellow")
        else:
            say(saga.status, status_style(saga.status))
        if saga.status and saga.awaits:
            say(f"Still waiting for {' and '.join(saga.awaits)}.", "yellow")
    if saga.status is None:
        return LOST
    return 0 if saga.status == "COMPLETED" else ENDED_OTHERWISE


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
    """List orders, newest first."""
    client = Client(settings())
    page = client.get("read", "/orders", userId=user, status=status, limit=limit)
    if as_json:
        for found in page["items"]:
            say_json(found)
        return
    if not page["items"]:
        say("No orders.")
        return
    _list(page["items"])
    if page["nextCursor"]:
        say("… and more; --limit shows up to 200 of them.", "dim")


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
