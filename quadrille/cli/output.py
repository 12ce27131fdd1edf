"""What commands print: aligned, in colour only on a terminal, and never wrapped in the middle of an id.

Names, reasons and errors are other people's texts: what a terminal would obey is shown as an escape.
"""

import sys
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

import click
import msgspec
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from notifier_service.money import money
from shared.chassis.messages import clock
from shared.chassis.printable import printable, printable_json

PIPED_WIDTH = 200
WIDE = 100
"""From so many columns on there is room for more than the essential."""

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
    "CANCELLING": "yellow",
}


class _Printable(Console):
    """Every text passes here as segments, before a table measures and pads them."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            text = printable(segment.text, keep="\n")
            yield segment if segment.control else segment._replace(text=text)


@cache
def console() -> Console:
    """Standard output; what is piped is not cut to a terminal's width."""
    return _Printable(
        width=None if sys.stdout.isatty() else PIPED_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
    )


def is_wide() -> bool:
    """Whether there is room for more than the essential."""
    return console().width >= WIDE


def echo(text: str, style: str | None = None) -> None:
    """A line, however long it is; the terminal may fold it, we do not."""
    console().print(text, style=style, soft_wrap=True)


def echo_json(document: object) -> None:
    """A document on a line of its own."""
    echo_raw_json(msgspec.json.encode(document).decode())


def echo_raw_json(document: str) -> None:
    """A document as it was received, on a line of its own."""
    click.echo(printable_json(document))


def echo_line(text: Text) -> None:
    """One line, even where a name in it has several; the terminal may fold it, we do not."""
    console().print(Text(" ").join(text.split("\n")), soft_wrap=True)


class _Table(Table):
    def add_row(self, *cells: RenderableType | None, **named: Any) -> None:  # noqa: ANN401 - Rich's own
        """Each cell on one line, so that no text can look like another row."""
        lines = [_on_one_line(cell) if isinstance(cell, str) else cell for cell in cells]
        super().add_row(*lines, **named)


def _on_one_line(text: str) -> str:
    return printable(text.replace("\n", " "))


def table(*columns: str) -> Table:
    """A borderless table whose first column is shown whole."""
    gap = 2 if is_wide() else 1
    shown = _Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        shown.add_column(column, no_wrap=True, overflow="ellipsis")
    return shown


def status_style(status: str) -> str:
    """Green for delivered, yellow for under way, red for undone."""
    return STATUS_COLOURS.get(status, "red")


def age(moment: datetime) -> str:
    """How long ago, or until when, in its largest unit: `12 s`, `3 min`, `2 h`, `5 d`."""
    seconds = abs((clock.now() - moment).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


__all__ = [
    "age",
    "console",
    "echo",
    "echo_json",
    "echo_line",
    "echo_raw_json",
    "is_wide",
    "money",
    "status_style",
    "table",
]
