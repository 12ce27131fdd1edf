"""`quadrille rebuild`: folds a service's events again into its tables, and shows what differed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from quadrille.cli.api_client import Client
from quadrille.cli.params import json_lines_option, services_argument
from quadrille.endpoints import SERVICES, Json, ShopError, load_settings, title_of
from quadrille.output import console, echo, echo_json, table

POLL_SECONDS = 0.3


@click.command()
@services_argument
@json_lines_option
def rebuild(services: tuple[str, ...], *, as_json: bool) -> None:
    """\b
    For example:
      quadrille rebuild                 what was rebuilt since the services were started
      quadrille rebuild read            all tables of the read API
      quadrille rebuild order shipping  one after the other

    The services are in use meanwhile. New tables are built beside the old ones, compared with
    them and take their place; rows that differed are counted.

    Only for operators and the admin: quadrille login admin@example.com
    """
    client = Client(load_settings())
    if not services:
        _show_all(client, as_json=as_json)
        return
    for service in services:
        result = _rebuild(client, service)
        if as_json:
            echo_json({"service": service, **result})
        else:
            _print_result(service, result)
        if result["status"] == "FAILED":
            message = (
                f"the {title_of(service)} was not rebuilt, its tables are as they were: "
                f"{result['error']}"
            )
            raise ShopError(message)


def _rebuild(client: Client, service: str) -> Json:
    """Start a rebuild, or join the one under way; the result when it has ended."""
    running = client.get(service, "/rebuild")["current"]
    running = running or client.post(service, "/rebuild", None)["current"]
    with _progress_bar(service) as (progress, task):
        while True:
            rebuilds = client.get(service, "/rebuild")
            current, last = rebuilds["current"], rebuilds["last"]
            if last and last["startedAt"] == running["startedAt"]:
                return last
            if not current or current["startedAt"] != running["startedAt"]:
                message = (
                    f"the {title_of(service)} was restarted during the rebuild: start it again"
                )
                raise ShopError(message)
            progress.update(task, **_progress(current))
            time.sleep(POLL_SECONDS)


@contextmanager
def _progress_bar(service: str) -> Iterator[tuple[Progress, TaskID]]:
    """Visible on a terminal only."""
    errors = Console(stderr=True)
    columns = (TextColumn(service), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        yield bar, bar.add_task("starting", total=None)


def _progress(current: Json) -> Json:
    text = current["status"].lower()
    if current["totalEvents"]:
        text += f" · {current['events']:,} of {current['totalEvents']:,} events"
    if current["eventsPerSecond"]:
        text += f" · {current['eventsPerSecond']:,}/s"
    if current["secondsLeft"]:
        text += f" · {current['secondsLeft']} s left"
    return {
        "completed": current["events"],
        "total": current["totalEvents"],
        "description": text,
    }


def _print_result(service: str, result: Json) -> None:
    if result["status"] != "COMPLETED":
        return
    seconds = _seconds(result)
    echo(
        f"{service}: {result['events']:,} events in {seconds:.1f} s "
        f"({result['eventsPerSecond']:,}/s); tables replaced in {result['swapSeconds']:.2f} s"
    )
    if result["tables"] is None:
        return
    differing = [t for t in result["tables"] if t["missing"] or t["unexpected"] or t["changed"]]
    if not differing:
        echo("No row differed.", "green")
        return
    number = result["differences"]
    rows = "row" if number == 1 else "rows"
    echo(f"{number:,} {rows} differed from the events, and the table was replaced:", "yellow")
    grid = table("table", "rows", "missing", "unexpected", "changed", right=(1, 2, 3, 4))
    for entry in differing:
        counts = (entry[name] for name in ("rows", "missing", "unexpected", "changed"))
        grid.add_row(entry["table"], *(f"{count:,}" for count in counts))
    console().print(grid)


def _seconds(result: Json) -> float:
    start, end = (datetime.fromisoformat(result[name]) for name in ("startedAt", "endedAt"))
    return (end - start).total_seconds()


def _show_all(client: Client, *, as_json: bool) -> None:
    rebuilds = {service: client.get(service, "/rebuild") for service in SERVICES}
    if as_json:
        for service, document in rebuilds.items():
            echo_json({"service": service, **document})
        return
    grid = table("service", "status", "events", "differences", "started", right=(2, 3))
    for service, document in rebuilds.items():
        if latest := document["current"] or document["last"]:
            differences = latest["differences"]
            grid.add_row(
                service,
                latest["status"],
                f"{latest['events']:,}",
                "" if differences is None else f"{differences:,}",
                latest["startedAt"],
            )
        else:
            grid.add_row(service, "not since its start")
    console().print(grid)
