"""`quadrille dlq`: dead letters of a service, listed, tried, redriven and discarded."""

from datetime import datetime

import click
import msgspec

from quadrille.cli.api_client import Client
from quadrille.cli.order_ids import find_entity_id
from quadrille.cli.params import json_option
from quadrille.endpoints import SERVICES, Json, ShopError, load_settings, segment
from quadrille.output import MAX_LIMIT, console, echo, echo_json, table

STATUSES = ("PARKED", "AWAITING_UPGRADE", "WAITING", "UNDECODABLE", "DISCARDED")

service_argument = click.argument("service", type=click.Choice(SERVICES))
entity_argument = click.argument("entity")
type_option = click.option("--type", "event_type", help="Only events of this type.")
error_option = click.option(
    "--error", help="Only with this text in the error, or with the error of a group."
)
source_option = click.option("--source", help="Only events of this publisher.")


@click.group()
def dlq() -> None:
    """\b
    quadrille dlq list                        the groups of all services
    quadrille dlq list inventory --letters    each letter of one service
    quadrille dlq show inventory ENTITY       the letters of an entity, with their bodies
    quadrille dlq try inventory ENTITY        what a redrive would do; nothing is written
    quadrille dlq redrive inventory ENTITY    handle them in order, up to the first that fails
    quadrille dlq discard inventory ENTITY --reason "never ordered"

    \b
    PARKED            the first letter of its entity: a rule failed
    AWAITING_UPGRADE  the first letter of its entity: only a later release can read it;
                      the upgraded service handles it
    WAITING           an earlier letter of its entity is not handled
    UNDECODABLE       no event of the shop, or one whose data cannot be read; its entity is
                      its own id
    DISCARDED         an operator has decided that it is never handled

    Only for operators and the admin: quadrille login admin@example.com
    """


@dlq.command("list")
@click.argument("service", type=click.Choice(SERVICES), required=False)
@click.option("--status", type=click.Choice(STATUSES), help="Without it, all but DISCARDED.")
@type_option
@error_option
@source_option
@click.option("--letters", "with_letters", is_flag=True, help="Each letter, not only the groups.")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True)
@json_option
def list_letters(  # noqa: PLR0917 - click passes them by name
    service: str | None,
    status: str | None,
    event_type: str | None,
    error: str | None,
    source: str | None,
    with_letters: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List dead letters, grouped by error and type; … stands for the entity in an error."""
    client = Client(load_settings())
    query = {"status": status, "type": event_type, "error": error, "source": source}
    services = [service] if service else SERVICES
    pages = client.get_each(services, "/dead-letters", limit=limit, **query)
    if as_json:
        echo_json(pages)
    elif not any(page["items"] for page in pages.values()):
        echo("No dead letters.")
    elif with_letters:
        _print_letters(pages)
    else:
        _print_groups(pages)


def _print_groups(pages: dict[str, Json]) -> None:
    grid = table("service", "status", "type", "letters", "entities", "since", "error")
    for service, page in pages.items():
        for group in page["groups"]:
            grid.add_row(
                service,
                group["status"],
                group["type"] or "",
                f"{group['letters']:,}",
                f"{group['entities']:,}",
                _time(group["oldest"]),
                group["error"],
            )
    console().print(grid)


def _print_letters(pages: dict[str, Json]) -> None:
    grid = table("service", "entity", "status", "type", "event", "since", "error")
    for service, page in pages.items():
        for letter in page["items"]:
            grid.add_row(
                service,
                letter["entity"],
                letter["status"],
                letter["type"] or "",
                letter["eventId"],
                _time(letter["deadLetteredAt"]),
                letter["reason"] or letter["error"],
            )
    console().print(grid)
    for service, page in pages.items():
        if page["nextCursor"]:
            echo(f"There are more letters of {service}: raise --limit, or use --json.")


@dlq.command()
@service_argument
@entity_argument
@json_option
def show(service: str, entity: str, *, as_json: bool) -> None:
    """Show the letters of an entity in their order, with the messages as they were received."""
    client = Client(load_settings())
    page = client.get(service, f"/dead-letters/{segment(find_entity_id(client, entity))}")
    if as_json:
        echo_json(page)
        return
    for letter in page["items"]:
        echo(f"{letter['status']}  {letter['type'] or letter['subject']}  {letter['eventId']}")
        echo(f"  error: {letter['error']}")
        if letter["reason"]:
            echo(f"  discarded by {letter['discardedBy']}: {letter['reason']}")
        echo(f"  {letter['body']}")


@dlq.command("try")
@service_argument
@entity_argument
@json_option
def try_entity(service: str, entity: str, *, as_json: bool) -> None:
    """Show what a redrive of the entity would do: how the state would change, and which events it would record.

    Nothing is written.
    """
    client = Client(load_settings())
    path = f"/dead-letters/{segment(find_entity_id(client, entity))}/try"
    trial = client.post(service, path, None)
    if as_json:
        echo_json(trial)
        return
    _print_items(trial["items"])
    for item in trial["items"]:
        for event in item["events"]:
            echo(f"would record {event['type']} of {event['entity']}: {_compact(event['data'])}")
    for change in trial["changes"]:
        before, after = _compact(change["before"]), _compact(change["after"])
        echo(f"would change {change['kind']} {change['id']}: {before} → {after}")


@dlq.command()
@service_argument
@click.argument("entity", required=False)
@type_option
@error_option
@source_option
@json_option
def redrive(
    service: str,
    entity: str | None,
    event_type: str | None,
    error: str | None,
    source: str | None,
    *,
    as_json: bool,
) -> None:
    """Handle the letters of an entity, or of all entities that the options select.

    \b
    For example:
      quadrille dlq redrive inventory 01a1fb92-0085-7540-b83d-a0146d23a9e7
      quadrille dlq redrive inventory --error "KeyError: '…'" --type ShipmentCompleted

    The letters of each entity are handled in their order, up to the first that fails again; it and those behind it
    stay. Exit code 1 if one was not handled.
    """
    client, chosen = Client(load_settings()), {"type": event_type, "error": error, "source": source}
    body = {name: value for name, value in chosen.items() if value is not None}
    if (entity is None) == (not body):
        raise click.UsageError("name an entity, or select letters by --type, --error or --source")
    if entity:
        path = f"/dead-letters/{segment(find_entity_id(client, entity))}/redrive"
        result = client.post(service, path, None)
    else:
        result = client.post(service, "/redrives", body)
    _print_redrive(service, result, as_json=as_json)


@dlq.command()
@service_argument
@entity_argument
@click.option("--reason", required=True, help="Kept with the letter, and published.")
@click.option("--event", "event_id", help="The id of the letter's event; without it, the first.")
@json_option
def discard(service: str, entity: str, reason: str, event_id: str | None, *, as_json: bool) -> None:
    """Never handle a letter; those that waited behind it are handled. The letter is kept as a record."""
    client = Client(load_settings())
    path = f"/dead-letters/{segment(find_entity_id(client, entity))}"
    if event_id is None:
        letters = client.get(service, path)["items"]
        event_id = next((one["eventId"] for one in letters if one["status"] != "DISCARDED"), None)
    if event_id is None:
        raise ShopError(f"all dead letters of {entity} are discarded")
    result = client.post(service, f"{path}/discard", {"eventId": event_id, "reason": reason})
    if as_json:
        echo_json(result)
        return
    echo(f"Discarded event {event_id} of {entity}.")
    if result["redrive"]:
        _print_redrive(service, result["redrive"], as_json=False)


def _print_redrive(service: str, result: Json, *, as_json: bool) -> None:
    if as_json:
        echo_json(result)
    else:
        _print_items(result["items"])
        if not result["finished"]:
            echo(f"Under way; its outcome: GET /redrives/{result['redriveId']} of {service}.")
    if result["outcomes"].keys() - {"HANDLED", "DUPLICATE", "PENDING", "DISCARDED"}:
        raise SystemExit(1)


def _print_items(items: list[Json]) -> None:
    if not items:
        echo("No dead letters.")
        return
    grid = table("type", "event", "outcome", "error")
    for item in items:
        grid.add_row(item["type"] or "", item["eventId"], item["outcome"], item["error"] or "")
    console().print(grid)


def _compact(data: Json) -> str:
    return "-" if data is None else msgspec.json.encode(data).decode()


def _time(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"
