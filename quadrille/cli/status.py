"""`quadrille status`: whether the shop is ready, and what each of its processes waits for."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
import msgspec
import psutil
from rich.text import Text

from quadrille.cli.params import json_option
from quadrille.endpoints import SERVICES, Endpoints, ServiceUnreachable, load_settings
from quadrille.launcher import running
from quadrille.launcher.configuration import MAILBOX
from quadrille.output import SERVICE_COLOURS, age, console, echo, echo_json, table

READY = "ready"
WAITING = "waiting"
RUNNING = "running"
DOWN = "down"
STATUS_STYLES = {READY: "green", WAITING: "yellow", RUNNING: "green", DOWN: "red"}
NOTHING = "–"  # noqa: RUF001 - a dash is meant


class Health(msgspec.Struct, kw_only=True, rename="camel"):
    """A process's answer at `/health/ready`; an older release answers only the first two."""

    waiting_for: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    version: str | None = None
    started_at: datetime | None = None
    lag: int | None = None
    dead_letters: int | None = None


class ProcessStatus(Health, kw_only=True, rename="camel"):
    """A service, or another process of `quadrille up`."""

    name: str
    status: str
    """One of STATUS_STYLES; `running` for a process that is no service, `down` for a service that does not answer."""
    url: str | None = None
    pid: int | None = None


class ShopStatus(msgspec.Struct, kw_only=True, rename="camel"):
    is_ready: bool = msgspec.field(name="ready")
    data_dir: str
    launcher_pid: int | None
    processes: list[ProcessStatus]


@click.command()
@json_option
def status(*, as_json: bool) -> None:
    """Asks the five services over HTTP, at the addresses of the settings; nobody needs to be signed in. Process ids, and
    the processes that are no services, are those of a `quadrille up` on this machine.

    The lag is the number of events that a service has not handled yet; dead letters are those that it could not handle.

    \b
    Exit code:
      0  all services are ready
      1  one is not, or does not answer
    """
    settings = load_settings()
    data_dir = settings.data_dir.absolute()
    shop = _status(Endpoints(settings), data_dir)
    if as_json:
        echo_json(shop)
    else:
        _print(shop)
    sys.exit(0 if shop.is_ready else 1)


def _status(endpoints: Endpoints, data_dir: Path) -> ShopStatus:
    launcher = running.launcher_of(data_dir)
    local = running.processes_of(launcher) if launcher else {}
    names = [*SERVICES, *([MAILBOX.name] if MAILBOX.name in local else [])]
    with ThreadPoolExecutor(len(names)) as threads:
        answering = list(threads.map(partial(_ask, endpoints), names))
    for process in answering:
        if process.name in local:
            process.pid = local[process.name].pid
    others = [_of(process, name) for name, process in local.items() if name not in names]
    return ShopStatus(
        is_ready=all(process.status == READY for process in answering),
        data_dir=str(data_dir),
        launcher_pid=launcher.pid if launcher else None,
        processes=[*answering, *others],
    )


def _ask(endpoints: Endpoints, name: str) -> ProcessStatus:
    url = str(endpoints.url(name))
    try:
        response = endpoints.request("GET", name, "/health/ready")
        health = msgspec.json.decode(response.content, type=Health)
    except (ServiceUnreachable, msgspec.MsgspecError):
        return ProcessStatus(name=name, status=DOWN, url=url)
    state = READY if response.is_success else WAITING
    return ProcessStatus(name=name, status=state, url=url, **msgspec.structs.asdict(health))


def _of(process: psutil.Process, name: str) -> ProcessStatus:
    started_at = datetime.fromtimestamp(process.create_time(), UTC)
    return ProcessStatus(name=name, status=RUNNING, pid=process.pid, started_at=started_at)


def _print(shop: ShopStatus) -> None:
    columns = ("process", "status", "up for", "pid", "version", "lag", "dead letters")
    grid = table(*columns, right=(2, 3, 5, 6))
    for process in shop.processes:
        grid.add_row(
            Text(process.name, SERVICE_COLOURS.get(process.name, "")),
            Text(process.status, STATUS_STYLES.get(process.status, "")),
            age(process.started_at) if process.started_at else NOTHING,
            _cell(process.pid),
            _cell(process.version),
            _cell(process.lag),
            _cell(process.dead_letters),
        )
    console().print(grid)
    for sentence in _sentences(shop):
        echo(sentence, "yellow")


def _sentences(shop: ShopStatus) -> Iterator[str]:
    if not any(process.status in {READY, WAITING} for process in shop.processes):
        yield "No service answers; quadrille up starts the shop on this machine."
        return
    for process in shop.processes:
        if process.status == DOWN:
            yield f"{process.name} does not answer at {process.url}"
        for reason in process.waiting_for:
            yield f"{process.name} waits for {reason}"
        for warning in process.warnings:
            yield f"{process.name}: {warning}"
    if letters := sum(process.dead_letters or 0 for process in shop.processes):
        yield f"{letters:,} dead letters: quadrille dlq list"


def _cell(value: object) -> str:
    return NOTHING if value is None else f"{value}"
