"""`quadrille tasks`: what the services are to do later, and what they try again."""

from datetime import datetime

import click
from rich.text import Text

from quadrille.cli.api_client import Client
from quadrille.cli.order_ids import find_entity_id, find_order_id
from quadrille.cli.params import json_lines_option, json_option
from quadrille.endpoints import DECIDING, Json, load_settings, segment
from quadrille.output import MAX_LIMIT, age, console, echo, echo_json, table

service_argument = click.argument("service", type=click.Choice(DECIDING))
kind_argument = click.argument("kind")
key_argument = click.argument("key")


@click.group(invoke_without_command=True)
@click.option("--service", type=click.Choice(DECIDING), help="Only this service's.")
@click.option("--state", type=click.Choice(["due", "overdue", "retrying"]), help="Only those.")
@click.option("--kind", help="Only this kind: booking, withdrawal, mail, deadline.")
@click.option("--order", help="Only this order's.")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True)
@json_lines_option
@click.pass_context
def tasks(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    service: str | None,
    state: str | None,
    kind: str | None,
    order: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """\b
    For example:
      quadrille tasks                                      those of every service
      quadrille tasks --state retrying                     those that have failed
      quadrille tasks run shipping booking 7K3F-92QM       try it now
      quadrille tasks give-up shipping booking 7K3F-92QM --reason "the carrier is closed"

    \b
    due        it is to be executed now
    overdue    due for more than half a minute: a deadline waits until its service has
               handled what was published before
    retrying   it has failed at least once, or its outcome could not be processed

    Only for operators and the admin: quadrille login admin@example.com
    """
    if context.invoked_subcommand is not None:
        return
    client = Client(load_settings())
    order_id = find_order_id(client, order) if order else None
    query = {"state": state, "kind": kind, "orderId": order_id, "limit": limit}
    pages = client.get_each([service] if service else DECIDING, "/tasks", **query)
    rows = [(name, task) for name, page in pages.items() for task in page["items"]]
    is_complete = all(page["nextCursor"] is None for page in pages.values())
    _print(rows, is_complete=is_complete, as_json=as_json)


@tasks.command()
@service_argument
@kind_argument
@key_argument
@json_option
def run(service: str, kind: str, key: str, *, as_json: bool) -> None:
    """Make a task due now.

    A deadline that is run cancels its order as expired, once its service has handled what was published before.
    """
    client = Client(load_settings())
    key = find_entity_id(client, key)
    path = f"/tasks/{segment(kind)}/{segment(key)}/run"
    task = client.post(service, path, None)
    if as_json:
        echo_json(task)
    else:
        echo(f"{service}: {kind} of {key} is due now")


@tasks.command("give-up")
@service_argument
@kind_argument
@key_argument
@click.option("--reason", required=True, help="For the log; a mail's outcome shows it too.")
@json_option
def give_up(service: str, kind: str, key: str, reason: str, *, as_json: bool) -> None:
    """End a task as its last failed attempt would: the shipment fails, or the mail counts as failed."""
    client = Client(load_settings())
    key = find_entity_id(client, key)
    path = f"/tasks/{segment(kind)}/{segment(key)}/give-up"
    task = client.post(service, path, {"reason": reason})
    if as_json:
        echo_json(task)
    else:
        echo(f"{service}: {kind} of {key} is given up")


def _print(rows: list[tuple[str, Json]], *, is_complete: bool, as_json: bool) -> None:
    if as_json:
        for service, task in rows:
            echo_json({"service": service, **task})
        return
    if not rows:
        echo("No tasks.")
        return
    grid = table("service", "kind", "key", "due", "state", "failures", "last error", right=(5,))
    for service, task in rows:
        grid.add_row(
            service,
            task["kind"],
            task["key"],
            _due(task),
            Text(_state(task), "yellow" if task["states"] else ""),
            str(task["attempts"] + task["stuck"]),
            task["lastError"] or "",
        )
    console().print(grid)
    if not is_complete:
        echo(f"… and more; --limit shows up to {MAX_LIMIT} of each service.", "dim")


def _due(task: Json) -> str:
    due_at = datetime.fromisoformat(task["dueAt"])
    return f"{age(due_at)} ago" if "due" in task["states"] else f"in {age(due_at)}"


def _state(task: Json) -> str:
    """The one of its states that matters most."""
    if task["running"]:
        return "running"
    for state in ("retrying", "overdue", "due"):
        if state in task["states"]:
            return state
    return ""
