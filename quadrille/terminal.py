"""What commands print: aligned, in colour only for eyes, and never wrapped in the middle of an id."""

import sys
from datetime import datetime
from functools import cache

import click
import msgspec
from rich.console import Console
from rich.table import Table

from notifier_service.money import money
from shared import clock

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


@cache
def console() -> Console:
    """Standard output; what is piped is not cut to a terminal's width."""
    return Console(
        width=None if sys.stdout.isatty() else PIPED_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
    )


def is_wide() -> bool:
    """Whether there is room for more than the essential."""
    return console().width >= WIDE


def say(text: str, style: str | None = None) -> None:
    """A line, however long it is; the terminal may fold it, we do not."""
    console().print(text, style=style, soft_wrap=True)


def say_json(document: object) -> None:
    """A document on a line of its own."""
    click.echo(msgspec.json.encode(document).decode())


def table(*columns: str) -> Table:
    """A borderless table whose first column is shown whole."""
    gap = 2 if is_wide() else 1
    shown = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
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


__all__ = ["age", "console", "is_wide", "money", "say", "say_json", "status_style", "table"]
