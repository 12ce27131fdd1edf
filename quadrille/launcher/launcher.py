"""The shop on one machine: broker, services and mailbox, started and stopped together."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from quadrille.data_directory import BROKER_STORE, BROKER_USERS, LOGS, MAILS
from quadrille.launcher import nats_config, nats_server, preflight
from quadrille.launcher.configuration import Plan
from quadrille.launcher.nats_config import Server
from quadrille.launcher.nats_server import Broker
from quadrille.launcher.nats_users import PROVISIONER, VIEWER
from quadrille.launcher.processes import STOP_TIMEOUT_SECONDS, ProcessKilled, supervise
from quadrille.launcher.restarts import MAX_ENDS, ProcessGivenUp, end_of
from quadrille.launcher.startup import Startup
from shared.chassis.errors import REFUSED

E = TypeVar("E", bound=Exception)


def up(plan: Plan, on_ready: Callable[[], None] | None = None) -> None:
    """Run the shop until SIGINT or SIGTERM; returns after a clean stop. With `on_ready` it is to run in the background.

    Raises CannotStart before any service runs, ClickException when a process ended or had to be killed.
    """
    data_dir = plan.settings.data_dir
    os.umask(0o077)  # nobody else on this machine may read databases, logs, mails, or the stream
    with preflight.lock_data_dir(data_dir, BROKER_STORE, LOGS, MAILS):
        preflight.check_ports(plan.ports)
        asyncio.run(_run(plan, on_ready))
    click.echo(f"\nQuadrille has stopped; its data is in {data_dir}")


async def _run(plan: Plan, on_ready: Callable[[], None] | None) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    _announce(plan)
    try:
        if plan.has_broker:
            await _run_with_broker(plan, stopping, on_ready)
        else:
            await _run_parts(plan, {}, stopping, None, on_ready)
    except ExceptionGroup as errors:
        raise _failure(errors, _log_directory(plan)) from None


async def _run_with_broker(
    plan: Plan, stopping: asyncio.Event, on_ready: Callable[[], None] | None
) -> None:
    data_dir, port = plan.settings.data_dir.absolute(), plan.settings.nats_port
    address = f"{preflight.LOOPBACK}:{port}"
    users = data_dir / BROKER_USERS
    server = Server(
        address,
        str(data_dir / BROKER_STORE),
        address,
        monitoring=f"{preflight.LOOPBACK}:-1",
        ports=str(users),
    )
    urls = nats_config.write(users, server)
    log = _log_directory(plan) / f"{nats_server.NAME}.log"
    async with nats_server.running_broker(port, users, log, plan.environment_for()) as broker:
        await _run_parts(plan, urls, stopping, broker, on_ready)


async def _run_parts(
    plan: Plan,
    urls: dict[str, str],
    stopping: asyncio.Event,
    broker: Broker | None,
    on_ready: Callable[[], None] | None,
) -> None:
    """Run the services until `stopping` is set or a process is given up, then stop them all at once."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(Startup(plan, urls.get(VIEWER), on_ready).run())]
        if broker:
            tasks.append(group.create_task(broker.watch()))
        for name, command, environment in _commands(plan, urls):
            log = _log_directory(plan) / f"{name}.log"
            tasks.append(group.create_task(supervise(name, command, environment, log)))
        await stopping.wait()
        for task in tasks:
            task.cancel()


def _commands(plan: Plan, urls: dict[str, str]) -> list[tuple[str, list[str], dict[str, str]]]:
    """Name, command and environment of each process; a broker of ours needs somebody to create its stream."""
    commands = []
    if urls:
        environment = plan.environment_for("nats_url", nats_url=urls[PROVISIONER])
        commands.append(
            (PROVISIONER, [sys.executable, "-m", "quadrille", "provision"], environment)
        )
    for part in plan.parts:
        environment = plan.environment_for(*part.secrets, nats_url=urls.get(part.name))
        commands.append((part.name, [sys.executable, "-m", part.module], environment))
    return commands


def _log_directory(plan: Plan) -> Path:
    return plan.settings.data_dir / LOGS


def _announce(plan: Plan) -> None:
    click.echo("Quadrille is starting …")
    if plan.new_password:
        click.echo(
            f"The admin is {plan.settings.admin_email}, password {plan.new_password} "
            "(shown only now, at the first start)"
        )


def _failure(errors: ExceptionGroup[Exception], logs: Path) -> Exception:
    """What was given up first is the cause; what had to be killed on the way is not worth a second sentence."""
    if given_up := _of_type(errors, ProcessGivenUp):
        ends = " and ".join(
            f"{_given_up(end)} (its last lines are in {logs / end.name}.log)" for end in given_up
        )
        return click.ClickException(f"{ends}, so all were stopped: fix the cause and start again")
    if failed := _of_type(errors, click.ClickException):
        return failed[0]
    if killed := _of_type(errors, ProcessKilled):
        return click.ClickException(
            f"{' and '.join(end.name for end in killed)} did not stop within "
            f"{STOP_TIMEOUT_SECONDS} s and had to be killed; nothing is lost: start again"
        )
    return errors


def _of_type(errors: ExceptionGroup[Exception], kind: type[E]) -> list[E]:
    return [error for error in errors.exceptions if isinstance(error, kind)]


def _given_up(end: ProcessGivenUp) -> str:
    if end.code == REFUSED:
        return f"{end.name} refuses to start"
    return f"{end.name} {end_of(end.code)} after {MAX_ENDS} starts within a minute"
