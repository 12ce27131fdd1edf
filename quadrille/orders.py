"""`quadrille order` and `quadrille orders`: placing an order, watching it, and looking at many."""

import asyncio
import sys
from contextlib import aclosing
from datetime import datetime
from typing import Any

import click
import msgspec
from rich.text import Text

from order_service.domain.orders import Status
from quadrille.client import Client, settings
from quadrille.story import EventDocument, told
from quadrille.terminal import age, console, is_wide, money, say, say_json, status_style, table

ENDED_OTHERWISE = 1
STILL_OPEN = 3
SETTLE_SECONDS = 10
"""How long a finished order's compensation and mails are waited for."""

END_OF = {"OrderCompleted": "COMPLETED", "OrderFailed": "SHIPMENT_FAILED"}
END_OF_CANCELLED = {"NO_STOCK": "CANCELLED_NO_STOCK", "EXPIRED": "EXPIRED", "CUSTOMER": "CANCELLED"}
OWES_A_MAIL = {
    "OrderCreated",
    "ShipmentInitiated",
    "OrderCompleted",
    "OrderCancelled",
    "OrderFailed",
}
IS_A_MAIL = {"NotificationSent", "NotificationFailed", "NotificationSkipped"}
SETTLES_STOCK = {"StockDeducted", "StockReleased", "StockReservationFailed"}


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


class Saga:
    """What has been heard of one order, and whether more is to come."""

    def __init__(self) -> None:
        self.status: str | None = None
        """Its end; None while there is none."""
        self._types: list[str] = []

    def hear(self, event: EventDocument) -> None:
        """Take note."""
        self._types.append(event.type)
        if event.type == "OrderCancelled":
            self.status = END_OF_CANCELLED[event.data["reason"]]
        else:
            self.status = END_OF.get(event.type, self.status)

    @property
    def awaits(self) -> list[str]:
        """What is still to come of a finished order, in words."""
        missing = []
        if SETTLES_STOCK.isdisjoint(self._types):
            missing.append("its stock to be settled")
        owed = sum(kind in OWES_A_MAIL for kind in self._types)
        if sum(kind in IS_A_MAIL for kind in self._types) < owed:
            missing.append("its mails")
        return missing


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
    """Place an order, e.g. `quadrille order prod001:2 prod002 --watch`.

    \b
    Exit code:
      0  accepted; with --watch: COMPLETED
      1  with --watch: it ended otherwise
      2  nothing was ordered: a bad argument, a refusal, or the shop is not up
      3  with --watch: it was lost sight of before it ended
    """  # noqa: D301 - \b is click's
    client = Client(settings())
    wanted = {"userId": user, "email": email, "locale": locale, "items": lines}
    body = {name: value for name, value in wanted.items() if value is not None}
    placed = client.post("order", "/orders", body)
    if not watch:
        say_json(placed) if as_json else _show(placed)
        return
    if not as_json:
        _show(placed)
        say("")
    saga = asyncio.run(_watch(client, placed, as_json=as_json))
    if as_json:
        say_json(client.get("read", f"/orders/{placed['orderId']}"))
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


async def _watch(client: Client, placed: dict[str, Any], *, as_json: bool) -> Saga:
    """Show the order's events until it is final and all that follows from it is done, or time is up."""
    saga = Saga()
    start = datetime.fromisoformat(placed["createdAt"])
    loop = asyncio.get_running_loop()
    try:
        async with (
            asyncio.timeout(None) as patience,
            aclosing(client.follow("read", f"/orders/{placed['orderId']}/stream")) as messages,
        ):
            async for message in messages:
                if not message.data:
                    continue
                event = msgspec.json.decode(message.data, type=EventDocument)
                click.echo(message.data) if as_json else console().print(
                    told(event, start), soft_wrap=True
                )
                saga.hear(event)
                if saga.status and not saga.awaits:
                    break
                if saga.status and patience.when() is None:
                    patience.reschedule(loop.time() + SETTLE_SECONDS)
    except TimeoutError:
        pass
    return saga


def _verdict(saga: Saga, *, as_json: bool) -> int:
    if not as_json:
        say("")
        say(saga.status or "not finished yet", saga.status and status_style(saga.status))
        if saga.status and saga.awaits:
            say(f"still waiting for {' and '.join(saga.awaits)}", "yellow")
    if saga.status is None:
        return STILL_OPEN
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
