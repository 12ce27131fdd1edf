"""`quadrille held` and `quadrille forget`: events that the read API holds and does not apply."""

from typing import Any

import click

from quadrille.cli.api_client import Client
from quadrille.cli.endpoints import ShopError, segment, settings
from quadrille.cli.output import console, echo, echo_json, table
from shared.contracts import SOURCES

MAX_LISTED = 200


@click.command()
@click.option("--limit", type=click.IntRange(1, MAX_LISTED), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one event per line.")
def held(limit: int, *, as_json: bool) -> None:
    """List events that the read API holds and does not apply.

    \b
    WAITING    an event before it in its service's log has not arrived
    DIVERGING  another event was applied at its position: the service's database was
               restored from an older copy, or somebody published in its name
    FAR_AHEAD  its position is too far beyond the last applied one to be waited for

    `quadrille check` says which of two events is in the service's own log.
    """  # noqa: D301 - \b is click's
    page = Client(settings()).get("read", "/events/held", limit=limit)
    if as_json:
        for event in page["items"]:
            echo_json(event)
        return
    if not page["items"]:
        echo("No event is held.")
        return
    shown = table("source", "position", "status", "event", "applied instead")
    for event in page["items"]:
        shown.add_row(
            event["source"],
            str(event["position"]),
            event["status"],
            event["eventId"],
            event["appliedEventId"] or "",
        )
    console().print(shown)
    if page["nextCursor"]:
        echo(f"… and more; --limit shows up to {MAX_LISTED} of them.", "dim")


@click.command()
@click.argument("source", type=click.Choice(sorted(SOURCES)))
@click.argument("position", type=click.IntRange(min=1))
@click.argument("event_id", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print what was removed as JSON.")
def forget(source: str, position: int, event_id: str | None, *, as_json: bool) -> None:
    """Remove a held event, so that the read API is ready again.

    \b
    For example:
      quadrille forget order 3
      quadrille forget order 3 01a1fb92-0085-7540-b83d-a0146d23a9e7

    The event id is needed only where several events claim the position. The event that was applied stays applied;
    a gap stays a gap: no event is skipped. A read database built anew from the stream holds the event again.
    """  # noqa: D301 - \b is click's
    client = Client(settings())
    event = _one_of(_at(client, source, position), source, position, event_id)
    path = f"/events/held/{source}/{position}/{segment(event['eventId'])}"
    client.delete("read", path)
    if as_json:
        echo_json(event)
    else:
        echo(f"Removed event {event['eventId']}, held at position {position} of {source}.")


def _at(client: Client, source: str, position: int) -> list[dict[str, Any]]:
    query = {"source": source, "position": position, "limit": MAX_LISTED}
    found: list[dict[str, Any]] = client.get("read", "/events/held", **query)["items"]
    return found


def _one_of(
    events: list[dict[str, Any]], source: str, position: int, event_id: str | None
) -> dict[str, Any]:
    matching = [event for event in events if event_id in {None, event["eventId"]}]
    if not matching:
        which = f"event {event_id}" if event_id else "event"
        raise ShopError(f"no {which} is held at position {position} of {source}: quadrille held")
    if len(matching) > 1:
        ids = ", ".join(event["eventId"] for event in matching)
        raise ShopError(f"several events are held at position {position} of {source}: {ids}")
    return matching[0]
