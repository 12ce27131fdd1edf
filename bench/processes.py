"""A nats-server and the five services as processes, with their CPU time and memory."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_urlsafe
from urllib.request import urlopen

from msgspec.structs import replace

from quadrille.launcher.nats_users import PROVISIONER
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.settings import environment_of, settings_for

SERVICES = {
    "order_service": "order_port",
    "inventory_service": "inventory_port",
    "shipping_service": "shipping_port",
    "notifier_service": "notifier_port",
    "read_api": "read_api_port",
}
START_SECONDS = 30
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

Pids = dict[str, int]


@contextmanager
def running_shop(directory: Path) -> Iterator[tuple[ShopSettings, Pids]]:
    """The carrier answers at once and never fails, mails are recorded but not sent, logs go to files."""
    with ExitStack() as life, running_broker(directory / "nats", has_users=True) as broker:
        settings = settings_for(
            directory,
            broker.url,
            carrier_success_rate=1.0,
            smtp_url="null:",
            admin_password=token_urlsafe(12),
            rate_limits="off",
        )
        pids = {"nats-server": broker.pid, "load generator": os.getpid()}
        provisioner = replace(settings, nats_url=broker.url_of(PROVISIONER))
        life.enter_context(running("quadrille", provisioner, "provision"))
        for service in SERVICES:
            user = service.removesuffix("_service").removesuffix("_api")
            own = replace(settings, nats_url=broker.url_of(user))
            pids[service] = life.enter_context(running(service, own))
        for service, port in SERVICES.items():
            wait_until_ready(settings, service, getattr(settings, port))
        yield settings, pids


@contextmanager
def running_broker(directory: Path, *, has_users: bool = False) -> Iterator[NatsServer]:
    """A nats-server on a free port; with users it is configured as by `quadrille up`."""
    broker = NatsServer(directory, has_users=has_users)
    broker.start()
    try:
        yield broker
    finally:
        broker.terminate()


def cpu_seconds(pid: int) -> float:
    """The CPU time that all threads of a process have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_mebibytes(pid: int) -> float:
    """The memory that a process uses now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def running(service: str, settings: ShopSettings, *arguments: str) -> Iterator[int]:
    with _log_of(service, settings).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", service, *arguments],
            env={**os.environ, **environment_of(settings)},  # noqa: TID251 - passed on
            stdout=log,
            stderr=log,
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _log_of(service: str, settings: ShopSettings) -> Path:
    return settings.data_dir / f"{service}.log"


def wait_until_ready(settings: ShopSettings, service: str, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            urlopen(f"http://127.0.0.1:{port}/health/ready").close()
            return
        time.sleep(0.1)
    raise TimeoutError(f"{service} is not ready:\n{_log_of(service, settings).read_text()}")
