"""`quadrille sagas`, `nudge` and `settle`: orders that have not ended, whom they wait for, and what operators do about one."""

from datetime import datetime

import click
from rich.text import Text

from quadrille.cli.api_client import Client
from quadrille.cli.order_ids import find_order_id
from quadrille.cli.params import json_lines_option, json_option, order_argument
from quadrille.endpoints import Json, load_settings, segment
from quadrille.output import MAX_LIMIT, age, console, echo, echo_json, echo_page, table
from shared.chassis.messages import clock

STATES = ("stuck", "retrying", "parked", "overdue")


@click.command()
@click.argument("order", required=False)
@click.option("--state", type=click.Choice(STATES), help="Only those.")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True)
@click.option("--cursor", help="`nextCursor` of the page before, which --json prints last.")
@json_lines_option
def sagas(
    order: str | None, state: str | None, limit: int, cursor: str | None, *, as_json: bool
) -> None:
    """\b
    For example:
      quadrille sagas                    every unfinished order, oldest first
      quadrille sagas --state stuck      those of which nothing is received any more
      quadrille sagas 7K3F-92QM          one of them, step by step

    \b
    stuck     nothing has happened for three times what the step takes nine of ten recent
              orders, but at least for half a minute
    retrying  the carrier has not answered three attempts: quadrille tasks names the error
    parked    a service could not handle an event of it: quadrille dlq
    overdue   no outcome of its delivery arrived in time: quadrille settle

    An order is unfinished until it has its final status and its stock is settled. `quadrille nudge` repairs what the
    broker has lost of it.

    Only for operators and the admin: quadrille login admin@example.com
    """
    client = Client(load_settings())
    order_id = find_order_id(client, order) if order else None
    query = {"state": state, "orderId": order_id, "limit": limit, "cursor": cursor}
    page = client.get("read", "/sagas", **query)
    if order_id and page["items"] and not as_json:
        _print_steps(page["items"][0])
        return
    echo_page(page, _print, "No such saga: all orders have ended.", as_json=as_json)
    if as_json and page["nextCursor"]:
        echo_json({"nextCursor": page["nextCursor"]})


@click.command()
@order_argument
@json_option
def nudge(order: str, *, as_json: bool) -> None:
    """Services ignore events that they have handled, so a nudge changes nothing when nothing is missing. Deadlines stay
    where they are.

    Only for operators and the admin: quadrille login admin@example.com
    """
    client = Client(load_settings())
    path = f"/orders/{segment(find_order_id(client, order))}/nudge"
    nudged = client.post("order", path, {})
    if as_json:
        echo_json(nudged)
    else:
        echo(f"Order {nudged['orderId']} ({nudged['status']}): every service repeats its events")


@click.command()
@order_argument
@click.argument("outcome", type=click.Choice(("delivered", "lost", "returned")))
@click.option("--note", help="For the shop only; the customer does not see it.")
@json_option
def settle(order: str, outcome: str, note: str | None, *, as_json: bool) -> None:
    """\b
    For example:
      quadrille settle 7K3F-92QM lost --note "no trace for a week"

    The carrier has the parcel and reports nothing more. What was lost is written off, what was returned comes back
    into stock.

    Only for operators and the admin: quadrille login admin@example.com
    """
    client = Client(load_settings())
    path = f"/shipments/{segment(find_order_id(client, order))}/settle"
    shipment = client.post("shipping", path, {"outcome": outcome, "note": note})
    if as_json:
        echo_json(shipment)
    else:
        echo(f"The shipment of order {shipment['orderId']} is {shipment['status']}")


def _print(items: list[Json]) -> None:
    grid = table("order", "status", "next", "service", "waited", "deadline", "state")
    for saga in items:
        following = saga["next"] or {}
        grid.add_row(
            saga["orderId"],
            saga["status"] or "",
            following.get("step", ""),
            following.get("service", ""),
            age(datetime.fromisoformat(following["since"])) if following else "",
            _deadline(saga),
            Text(_states(saga), "yellow"),
        )
    console().print(grid)


def _print_steps(saga: Json) -> None:
    """What has happened, what is next, and what usually follows."""
    states = _states(saga)
    echo(f"Order {saga['orderId']}: {saga['status']}{f' ({states})' if states else ''}")
    for step in saga["steps"]:
        late = "  (late)" if step["late"] else ""
        echo(f"{step['sinceStartMs']:>12,.0f} ms  {step['service']:<9} {step['type']}{late}")
    for parked in saga["parked"]:
        name = f"{parked['eventType'] or 'a message'} {parked['eventId']}"
        echo(f"      parked  {parked['service']:<9} {name}: {parked['error']}", "red")
    for number, step in enumerate(saga["remaining"]):
        waited = f"waits for {saga['next']['waitedSeconds']:,.0f} s" if number == 0 else ""
        echo(
            f"              {step['service']:<9} {step['step']:<20} {_usual(step)}  {waited}".rstrip()
        )
    if deadline := _deadline(saga):
        echo(f"Its deadline passes {deadline}.")


def _usual(step: Json) -> str:
    if step["p50Seconds"] is None:
        return "no recent order"
    return f"usually {step['p50Seconds']:,.1f} s, p90 {step['p90Seconds']:,.1f} s"


def _deadline(saga: Json) -> str:
    if saga["deadlineAt"] is None:
        return ""
    deadline = datetime.fromisoformat(saga["deadlineAt"])
    is_past = deadline < clock.now()
    return f"{age(deadline)} ago" if is_past else f"in {age(deadline)}"


def _states(saga: Json) -> str:
    states = [state for state in ("stuck", "retrying", "overdue") if saga[state]]
    return ", ".join([*states, *(["parked"] if saga["parked"] else [])])
