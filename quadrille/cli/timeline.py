"""Events as lines: who said what, when, and the one fact that matters."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from rich.text import Text

from quadrille.cli.output import SERVICE_COLOURS, is_wide

TYPE_WIDTH = 22
SERVICE_WIDTH = 9
KEY_WIDTH = 36


class EventDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event as the read API shows it."""

    event_id: str
    type: str
    source: str
    key: str = ""
    recorded_at: datetime
    data: dict[str, Any]


def timeline_line(event: EventDocument, start: datetime) -> Text:
    """A line of one order's story: milliseconds since `start`, service, event, fact."""
    since = (event.recorded_at - start).total_seconds() * 1000
    line = Text.assemble((f"{since:9,.0f} ms  ", "dim"), *_named(event), summary(event))
    line.rstrip()
    return line


def log_line(event: EventDocument) -> Text:
    """A line of the shop's whole log: time of day, service, event, entity, and the fact if there is room."""
    moment = event.recorded_at.astimezone()
    time = f"{moment:%H:%M:%S.%f}"[:12] if is_wide() else f"{moment:%H:%M:%S}"
    line = Text.assemble((f"{time}  ", "dim"), *_named(event), f"{event.key:<{KEY_WIDTH}}")
    if is_wide():
        line.append(f"  {summary(event)}")
    line.rstrip()
    return line


def summary(event: EventDocument) -> str:
    """What the event says beyond its name."""
    data = event.data
    said = [_items(data[name]) for name in ("items", "failedItems") if data.get(name)]
    said += [str(data[name]) for name in FACTS if data.get(name) is not None]
    return "  ".join(said)


def _named(event: EventDocument) -> tuple[tuple[str, str], str]:
    """Two columns; with the time of day and a key, in all 80 characters wide."""
    colour = SERVICE_COLOURS.get(event.source, "")
    return (f"{event.source:<{SERVICE_WIDTH}} ", colour), f"{event.type:<{TYPE_WIDTH}}  "


def _items(items: Iterable[dict[str, Any]]) -> str:
    return " ".join(_item(item) for item in items)


def _item(item: dict[str, Any]) -> str:
    if "availableQuantity" in item:
        return f"{item['productId']}: {item['requestedQuantity']} wanted, {item['availableQuantity']} there"
    return f"{item['productId']}:{item['quantity']}"


FACTS = (
    "trackingNumber",
    "reason",
    "template",
    "recipient",
    "name",
    "quantity",
    "eventType",
    "error",
)
"""The fields worth a place on the line, in order."""
