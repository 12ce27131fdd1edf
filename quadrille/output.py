"""What commands print: aligned, in colour only on a terminal, and without a line break inside an id.

Names, reasons and errors come from other people: control characters in them are printed as escapes.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import Any

import click
import msgspec
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from quadrille.endpoints import Json
from shared.chassis.messages import clock
from shared.chassis.printable import printable, printable_json
from shared.money import money

PIPED_WIDTH = 200
WIDE = 100
"""A console with this number of columns or more has room for additional ones."""
MAX_LIMIT = 200
"""The most that the services return in one page."""

SERVICE_COLOURS = {
    "order": "cyan",
    "inventory": "green",
    "shipping": "yellow",
    "notifier": "magenta",
    "read": "blue",
}
STATUS_COLOURS = {
    "COMPLETED": "green",
    "PENDING": "yellow",
    "AWAITING_SHIPMENT": "yellow",
    "SHIPPED": "yellow",
    "CANCELLING": "yellow",
}
SERVICE_WIDTH = 9
EVENT_TYPE_WIDTH = 22
ENTITY_ID_WIDTH = 36


class _PrintableConsole(Console):
    """Escapes every text here, as a segment: before a table measures and pads it."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            text = printable(segment.text, keep="\n")
            yield segment if segment.control else segment._replace(text=text)


class _SingleLineTable(Table):
    """A line break in a cell would let a text look like another row."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:  # noqa: ANN401 - as rich
        lines = [
            printable(cell.replace("\n", " ")) if isinstance(cell, str) else cell for cell in cells
        ]
        super().add_row(*lines, **options)


class EventDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event in the read API's JSON."""

    event_id: str
    type: str
    source: str
    entity_id: str = msgspec.field(default="", name="key")
    recorded_at: datetime
    actor: str | None = None
    data: dict[str, Any]


@cache
def console() -> Console:
    """Standard output; piped output is not cut to the width of a terminal."""
    return _PrintableConsole(
        width=None if sys.stdout.isatty() else PIPED_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
    )


def is_wide() -> bool:
    return console().width >= WIDE


def echo(text: str, style: str | None = None) -> None:
    """Print a line of any length; only the terminal may fold it."""
    console().print(text, style=style, soft_wrap=True)


def echo_line(text: Text) -> None:
    """The same for a styled text; line breaks in it become spaces."""
    console().print(Text(" ").join(text.split("\n")), soft_wrap=True)


def echo_json(document: Json) -> None:
    """Print a document on one line; `msgspec.Raw` is printed as it was received."""
    click.echo(printable_json(msgspec.json.encode(document).decode()))


def echo_page(
    page: Json, print_items: Callable[[list[Json]], None], none: str, *, as_json: bool
) -> None:
    """A page of a list: JSON lines, or a table; `none` is printed if it is empty."""
    items = page["items"]
    if as_json:
        for item in items:
            echo_json(item)
    elif not items:
        echo(none)
    else:
        print_items(items)
        if page["nextCursor"]:
            echo(f"… and more; --limit shows up to {MAX_LIMIT} of them.", "dim")


def table(*columns: str, right: Iterable[int] = ()) -> Table:
    """A table without borders; the columns with these numbers are aligned to the right."""
    gap = 2 if is_wide() else 1
    grid = _SingleLineTable(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        grid.add_column(column, no_wrap=True, overflow="ellipsis")
    for number in right:
        grid.columns[number].justify = "right"
    return grid


def status_style(status: str) -> str:
    """Green for completed, yellow for in progress, red for cancelled or failed."""
    return STATUS_COLOURS.get(status, "red")


def age(moment: datetime) -> str:
    """The time since then, or until then, in its largest unit: `12 s`, `3 min`, `2 h`, `5 d`."""
    seconds = abs((clock.now() - moment).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def local_time(moment: str) -> str:
    """A time of a document, in the zone of this machine."""
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def print_order(order: Json) -> None:
    """An order as the order service returns it."""
    echo(f"Order {order['orderId']} of {order['userId']}: {order['status']}")
    echo(f"  number {order['orderNumber']}", "dim")
    if order.get("cancellation"):
        echo(f"  cancellation {cancellation(order['cancellation'])}")
    print_items(order)


def cancellation(document: Json) -> str:
    """Who asked for it and why; the note only if the reader may see it."""
    who = {"CUSTOMER": "by the customer", "SHOP": "by the shop", "DEADLINE": "by its deadline"}
    text = who.get(document["by"], f"by {document['by']}")
    if document["reason"]:
        text += f": {document['reason']}"
    return f"{text} (note: {document['note']})" if document["note"] else text


def print_items(order: Json) -> None:
    """The lines of an order or a cart at their prices, and the total; a changed list price is noted."""
    grid = table("quantity", "product", "price", "total", "", right=(2, 3))
    grid.show_header = False
    currency = order["currency"]
    for item in order["items"]:
        grid.add_row(
            f"  {item['quantity']:>4} ×",  # noqa: RUF001 - the multiplication sign
            item.get("name") or item["productId"],
            money(item["price"], currency),
            money(item["price"] * item["quantity"], currency),
            _price_note(item, currency),
        )
    grid.add_row("", "", "", money(order["totalAmount"], currency))
    console().print(grid)


def _price_note(item: Json, currency: str) -> str:
    """Only a cart's line has `currentPrice`; it is null for a product that is no longer for sale."""
    current = item.get("currentPrice", item["price"])
    if current is None:
        return "no longer for sale"
    return "" if current == item["price"] else f"now {money(current, currency)}"


def timeline_line(event: EventDocument, start: datetime) -> Text:
    """A line of one order's timeline: milliseconds since `start`, service, event type, summary."""
    since = (event.recorded_at - start).total_seconds() * 1000
    line = Text.assemble((f"{since:9,.0f} ms  ", "dim"), *_source_and_type(event), summary(event))
    return _with_actor(line, event)


def log_line(event: EventDocument) -> Text:
    """A line of the log of all events: time of day, service, event type, entity; the summary if there is room."""
    moment = event.recorded_at.astimezone()
    time = f"{moment:%H:%M:%S.%f}"[:12] if is_wide() else f"{moment:%H:%M:%S}"
    entity_id = f"{event.entity_id:<{ENTITY_ID_WIDTH}}"
    line = Text.assemble((f"{time}  ", "dim"), *_source_and_type(event), entity_id)
    if is_wide():
        line.append(f"  {summary(event)}")
        return _with_actor(line, event)
    line.rstrip()
    return line


def _with_actor(line: Text, event: EventDocument) -> Text:
    line.rstrip()
    return line.append(f"  by {event.actor}", "dim") if event.actor else line


def summary(event: EventDocument) -> str:
    """The most important facts in the event's data."""
    data = event.data
    facts = [_line_items(data[name]) for name in ("items", "failedItems") if data.get(name)]
    facts += [str(data[name]) for name in SUMMARY_FIELDS if data.get(name) is not None]
    return "  ".join(facts)


def _source_and_type(event: EventDocument) -> tuple[tuple[str, str], str]:
    """Two columns; with the time of day and an id they take 80 characters."""
    colour = SERVICE_COLOURS.get(event.source, "")
    return (f"{event.source:<{SERVICE_WIDTH}} ", colour), f"{event.type:<{EVENT_TYPE_WIDTH}}  "


def _line_items(items: Iterable[Json]) -> str:
    return " ".join(map(_line_item, items))


def _line_item(item: Json) -> str:
    product_id = item["productId"]
    if "availableQuantity" in item:
        return f"{product_id}: {item['requestedQuantity']} requested, {item['availableQuantity']} available"
    return f"{product_id}:{item['quantity']}"


SUMMARY_FIELDS = (
    "trackingNumber",
    "reason",
    "explanation",
    "note",
    "template",
    "recipient",
    "name",
    "quantity",
    "eventType",
    "error",
)
"""In the order of the line."""
