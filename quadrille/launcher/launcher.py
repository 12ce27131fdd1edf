"""The shop on one machine: broker, services and mailbox, started and ended together."""

import os
import signal
import sys
import threading
from contextlib import ExitStack

import click

from quadrille.launcher import nats_config, preflight
from quadrille.launcher.configuration import Plan
from quadrille.launcher.nats_config import Server
from quadrille.launcher.nats_server import EmbeddedBroker
from quadrille.launcher.nats_users import PROVISIONER, VIEWER
from quadrille.launcher.processes import KILL_SECONDS, Logs, Supervisor
from quadrille.launcher.startup import BROKER, PROBE_SECONDS, Steward


def up(plan: Plan) -> None:
    """Run the shop until SIGINT or SIGTERM; returns after a clean end.

    Raises CannotStart before any service runs, ClickException when a part ended by itself.
    """
    data_dir = plan.settings.data_dir
    os.umask(0o077)  # nobody else on this machine may read databases, logs, mails, or the stream
    with ExitStack() as closing:
        closing.enter_context(preflight.open_data_dir(data_dir, "nats", "logs", "mailbox"))
        preflight.check_ports(plan.ports)
        _run(plan, Logs(data_dir / "logs"), closing)
    click.echo(f"\nQuadrille has stopped; everything is kept in {data_dir}")


def _run(plan: Plan, logs: Logs, closing: ExitStack) -> None:
    supervisor = Supervisor(logs)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.terminate())
    _announce(plan)
    broker, urls = _start_broker(plan, logs, closing) if plan.has_broker else (None, {})
    if supervisor.is_ending:
        return
    if broker:
        environment = plan.environment_for("nats_url", nats_url=urls[PROVISIONER])
        supervisor.add(PROVISIONER, [sys.executable, "-m", "quadrille", "provision"], environment)
    for part in plan.parts:
        environment = plan.environment_for(*part.secrets, nats_url=urls.get(part.name))
        supervisor.add(part.name, [sys.executable, "-m", part.module], environment)
    steward = Steward(plan, supervisor, broker, urls.get(VIEWER))
    beside = threading.Thread(target=steward.run, daemon=True)
    supervisor.on_forked = beside.start
    supervisor.loop()
    beside.join(PROBE_SECONDS)
    if steward.trouble:
        raise steward.trouble
    _judge(supervisor, logs)


def _start_broker(
    plan: Plan, logs: Logs, closing: ExitStack
) -> tuple[EmbeddedBroker, dict[str, str]]:
    """The broker as it listens, and the URL of each of its users. Raises CannotStart."""
    data_dir, port = plan.settings.data_dir.absolute(), plan.settings.nats_port
    address = f"{preflight.LOOPBACK}:{port}"
    users = data_dir / "nats-users"
    urls = nats_config.write(users, Server(address, str(data_dir / "nats"), address))
    environment = plan.environment_for()
    broker = EmbeddedBroker(port, users / nats_config.CONFIG, logs.open(BROKER), environment)
    closing.callback(broker.stop)
    broker.wait_until_listening()
    return broker, urls


def _announce(plan: Plan) -> None:
    click.echo("Quadrille is starting …")
    if plan.new_password:
        click.echo(
            f"The admin is {plan.settings.admin_email}, password {plan.new_password} "
            "(shown only now, at the first start)"
        )


def _judge(supervisor: Supervisor, logs: Logs) -> None:
    """Raises ClickException when the end was not a clean one."""
    if supervisor.ended_first:
        ends = " and ".join(
            f"{name} ended by itself with {_code(code)} (its last lines are in {logs.path(name)})"
            for name, code in supervisor.ended_first.items()
        )
        raise click.ClickException(f"{ends}, so all were stopped: mend that, and start again")
    if late := supervisor.killed():
        raise click.ClickException(
            f"{' and '.join(late)} did not end within {KILL_SECONDS} s and had to be killed; "
            "nothing is lost: start again"
        )


def _code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
