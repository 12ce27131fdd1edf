"""`quadrille held` and `quadrille forget`: events that the read API holds and does not apply."""

import click

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_lines_option, json_option
from quadrille.endpoints import DECIDING, Json, ShopError, load_settings, segment
from quadrille.output import MAX_LIMIT, console, echo, echo_json, echo_page, table


@click.command()
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True)
@json_lines_option
def held(limit: int, *, as_json: bool) -> None:
    """\b
    WAITING    an earlier event of the same service has not arrived yet
    DIVERGING  another event was applied at its position: the service's database was
               restored from an older copy, or somebody published in its name
    FAR_AHEAD  its position is too far beyond the last applied one to wait for

    `quadrille check` shows which of two events is in the service's own log.
    """
    page = Client(load_settings()).get("read", "/events/held", limit=limit)
    echo_page(page, _print, "No event is held.", as_json=as_json)


def _print(events: list[Json]) -> None:
    grid = table("source", "position", "status", "event", "applied instead")
    for event in events:
        grid.add_row(
            event["source"],
            str(event["position"]),
            event["status"],
            event["eventId"],
            event["appliedEventId"] or "",
        )
    console().print(grid)


@click.command()
@click.argument("source", type=click.Choice(DECIDING))
@click.argument("position", type=click.IntRange(min=1))
@click.argument("event_id", required=False)
@json_option
def forget(source: str, position: int, event_id: str | None, *, as_json: bool) -> None:
    """\b
    For example:
      quadrille forget order 3
      quadrille forget order 3 01a1fb92-0085-7540-b83d-a0146d23a9e7

    The event id is needed only if several events are held at the position. The applied event stays applied, and a
    missing event stays missing: the read API still waits for it. A read database that is rebuilt from the stream holds the event again.
    """
    client = Client(load_settings())
    event = _held_event(client, source, position, event_id)
    client.delete("read", f"/events/held/{source}/{position}/{segment(event['eventId'])}")
    if as_json:
        echo_json(event)
    else:
        echo(f"Removed event {event['eventId']}, held at position {position} of {source}.")


def _held_event(client: Client, source: str, position: int, event_id: str | None) -> Json:
    query = {"source": source, "position": position, "limit": MAX_LIMIT}
    events = client.get("read", "/events/held", **query)["items"]
    matching = [event for event in events if event_id in {None, event["eventId"]}]
    match matching:
        case [event]:
            return event
        case []:
            name = f"event {event_id}" if event_id else "event"
            message = f"no {name} is held at position {position} of {source}: quadrille held"
            raise ShopError(message)
        case _:
            ids = ", ".join(event["eventId"] for event in matching)
            message = (
                f"several events are held at position {position} of {source}, add an id: {ids}"
            )
            raise ShopError(message)
