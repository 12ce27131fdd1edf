"""`quadrille events`: lists the newest events or an order's timeline, and follows them live."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import click
import msgspec

from quadrille.cli.api_client import Client, run_async
from quadrille.cli.order_ids import find_order_id
from quadrille.endpoints import Json, load_settings, segment
from quadrille.output import (
    MAX_LIMIT,
    EventDocument,
    echo,
    echo_json,
    echo_line,
    log_line,
    timeline_line,
)


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """None matches everything."""

    type: str | None
    source: str | None

    def matches(self, event: Json) -> bool:
        return self.type in {None, event["type"]} and self.source in {None, event["source"]}


Print = Callable[[Json], None]


@click.command()
@click.option("--follow", is_flag=True, help="Continue with new events until Ctrl-C.")
@click.option("--order", help="Only this order's timeline, in causal order.")
@click.option("--type", "event_type", help="Only events of this type, e.g. StockReserved.")
@click.option(
    "--source",
    type=click.Choice(["order", "inventory", "shipping", "notifier"]),
    help="Only events of this service.",
)
@click.option(
    "--limit",
    type=click.IntRange(0, MAX_LIMIT),
    default=20,
    show_default=True,
    help="The number of events.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one event per line.")
def events(
    order: str | None,
    event_type: str | None,
    source: str | None,
    limit: int,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """Only the admin sees all events; an order's timeline is for everyone who may see the order."""
    client = Client(load_settings())
    order_id = find_order_id(client, order) if order else None
    selection = EventFilter(type=event_type, source=source)
    print_event = echo_json if as_json else _print_timeline() if order_id else _print_log
    if follow:
        run_async(_follow(client, order_id, selection, limit, print_event))
        return
    newest = _timeline(client, order_id) if order_id else _newest(client, selection, limit)
    matching = [event for event in newest if selection.matches(event)]
    for event in matching:
        print_event(event)
    if not matching and not as_json:
        echo("No such events.")


def _newest(client: Client, selection: EventFilter, limit: int) -> list[Json]:
    """Oldest first."""
    if limit == 0:
        return []
    page = client.get("read", "/events", type=selection.type, source=selection.source, limit=limit)
    return list(reversed(page["items"]))


def _timeline(client: Client, order_id: str) -> list[Json]:
    timeline: list[Json] = client.get("read", f"/orders/{segment(order_id)}/timeline")["items"]
    return timeline


async def _follow(
    client: Client, order_id: str | None, selection: EventFilter, limit: int, print_event: Print
) -> None:
    """An order's stream starts with its first event; the stream of all events starts after the newest ones."""
    printed: set[str] = set()
    is_opened = False
    path = f"/orders/{segment(order_id)}/stream" if order_id else "/events/stream"
    async with aclosing(client.follow("read", path)) as messages:
        async for message in messages:
            if message.data:
                event = msgspec.json.decode(message.data)
                if selection.matches(event) and event["eventId"] not in printed:
                    print_event(event)
            elif not order_id and not is_opened:
                # Once the stream is open: an event recorded between the two requests is in both, not in neither.
                is_opened = True
                newest = await asyncio.to_thread(_newest, client, selection, limit)
                printed = {event["eventId"] for event in newest}
                for event in newest:
                    print_event(event)


def _print_log(event: Json) -> None:
    echo_line(log_line(msgspec.convert(event, EventDocument)))


def _print_timeline() -> Print:
    """Prints events with the time since the first one."""
    first: EventDocument | None = None

    def print_event(document: Json) -> None:
        nonlocal first
        event = msgspec.convert(document, EventDocument)
        first = first or event
        late = "  (late)" if document.get("late") else ""
        echo_line(timeline_line(event, first.recorded_at).append(late, "dim"))

    return print_event
