"""`quadrille events`: what the shop has said, and what it says just now."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import click
import msgspec

from quadrille.cli.api_client import Client, run_async
from quadrille.cli.endpoints import segment, settings
from quadrille.cli.output import echo, echo_json, echo_line
from quadrille.cli.timeline import EventDocument, log_line, timeline_line


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events."""

    type: str | None
    source: str | None

    def matches(self, document: dict[str, Any]) -> bool:
        """Whether this is one of them."""
        return self.type in {None, document["type"]} and self.source in {None, document["source"]}


Show = Callable[[dict[str, Any]], None]


@click.command()
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--order", "order_id", help="Only this order's story, in causal order.")
@click.option("--type", "event_type", help="Only such events, e.g. StockReserved.")
@click.option(
    "--source",
    type=click.Choice(["order", "inventory", "shipping", "notifier"]),
    help="Only this service's.",
)
@click.option(
    "--limit", type=click.IntRange(0, 200), default=20, show_default=True, help="How many."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one event per line.")
def events(
    order_id: str | None,
    event_type: str | None,
    source: str | None,
    limit: int,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the newest events, or an order's story.

    The shop's events are for its admin; an order's story is for whoever may see the order.
    """
    client = Client(settings())
    wanted = Wanted(type=event_type, source=source)
    show = echo_json if as_json else _story() if order_id else _log
    if follow:
        run_async(_follow(client, order_id, wanted, limit, show))
        return
    found = _timeline(client, order_id) if order_id else _newest(client, wanted, limit)
    matching = [document for document in found if wanted.matches(document)]
    for document in matching:
        show(document)
    if not matching and not as_json:
        echo("No such events.")


def _newest(client: Client, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    if limit == 0:
        return []
    page = client.get("read", "/events", type=wanted.type, source=wanted.source, limit=limit)
    found: list[dict[str, Any]] = page["items"]
    return found[::-1]


def _timeline(client: Client, order_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("read", f"/orders/{segment(order_id)}/timeline")[
        "items"
    ]
    return found


async def _follow(
    client: Client, order_id: str | None, wanted: Wanted, limit: int, show: Show
) -> None:
    """An order's stream begins with its first event; the shop's with the next, behind the newest ones."""
    shown: set[str] = set()
    is_resumed = False
    path = f"/orders/{segment(order_id)}/stream" if order_id else "/events/stream"
    async with aclosing(client.follow("read", path)) as messages:
        async for message in messages:
            if message.data:
                document = msgspec.json.decode(message.data)
                if wanted.matches(document) and document["eventId"] not in shown:
                    show(document)
            elif not order_id and not is_resumed:
                is_resumed = True  # every later opening message is of a stream that goes on
                before = await asyncio.to_thread(_newest, client, wanted, limit)
                shown = {document["eventId"] for document in before}
                for document in before:
                    show(document)


def _log(document: dict[str, Any]) -> None:
    echo_line(log_line(msgspec.convert(document, EventDocument)))


def _story() -> Show:
    """Shows events with the time since the first of them."""
    start: list[EventDocument] = []

    def show(document: dict[str, Any]) -> None:
        event = msgspec.convert(document, EventDocument)
        start.append(event) if not start else None
        late = "  (late)" if document.get("late") else ""
        echo_line(timeline_line(event, start[0].recorded_at).append(late, "dim"))

    return show
