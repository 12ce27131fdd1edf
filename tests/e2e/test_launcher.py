"""`quadrille up` as a user runs it: its output, the curl line it prints, and how it stops."""

import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest
from filelock import FileLock

from quadrille.launcher.restarts import MAX_ENDS
from shared.settings import ShopSettings, port_of
from tests.support.broker import NatsServer
from tests.support.curl import shell_environment
from tests.support.eventually import eventually
from tests.support.settings import environment_of, settings_for

START_SECONDS = 90
STOP_SECONDS = 30
OWN_BROKER_AND_MAILBOX = ("QUADRILLE_NATS_URL", "QUADRILLE_SMTP_URL")
NO_MAILBOX = {"QUADRILLE_SMTP_URL": "null:"}
"""For tests that need one process less."""
CTRL_C = b"\x03"


def control_terminal() -> None:
    """The processes of this session get the signals of its standard input: Ctrl-C, and the end of the terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Launched:
    """One `quadrille up` at a terminal, and what it has printed."""

    def __init__(self, settings: ShopSettings, directory: Path, **environment: str) -> None:
        directory.mkdir(exist_ok=True)
        self.settings = settings
        self._environment = environment
        self._output = directory / "up.out"
        self._shell = shell_environment(directory / "bin")
        self._keyboard, self._terminal = os.openpty()
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        own = environment_of(self.settings)
        own = {name: value for name, value in own.items() if name not in OWN_BROKER_AND_MAILBOX}
        with self._output.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "quadrille", "up"],
                env=os.environ | own | self._environment,  # noqa: TID251 - a child's
                stdin=self._terminal,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=control_terminal,  # noqa: PLW1509 - only this makes it the controlling terminal
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    async def is_open(self, *, is_new: bool = True) -> None:
        """Wait for the summary; start on other ports when another test was quicker to take one."""
        while await eventually(self._verdict, within_seconds=START_SECONDS) != "open":
            if is_new:
                shutil.rmtree(self.settings.data_dir)
            self.settings = settings_for(self.settings.data_dir, "", carrier_success_rate=1)
            self.process = self._start()

    def _verdict(self) -> str | None:
        if "Ctrl-C stops" in self.output:
            return "open"
        if self.process.poll() is None:
            return None
        if "in use" in self.output:
            return "try again"
        pytest.fail(f"it ended with {self.process.returncode}:\n{self.output}")

    def press_ctrl_c(self) -> int:
        """The exit code after the terminal has sent SIGINT to its foreground processes."""
        os.write(self._keyboard, CTRL_C)
        return self.process.wait(STOP_SECONDS)

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(STOP_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._keyboard)
        os.close(self._terminal)

    def error(self) -> str:
        """The sentence it ends with when it cannot go on."""
        code = self.process.wait(START_SECONDS)
        assert code == 1, self.output
        assert "Traceback" not in self.output
        *_, last = self.output.strip().splitlines()
        return last

    def paste_curl(self) -> dict[str, Any]:
        """The answer to the order that it prints."""
        pasted = subprocess.run(
            ["sh", "-c", self.curl_line()], env=self._shell, capture_output=True, check=True
        )
        order: dict[str, Any] = msgspec.json.decode(pasted.stdout)
        return order

    def curl_line(self) -> str:
        (line,) = re.findall(r"^curl .*$", self.output, re.MULTILINE)
        return line

    def get(self, setting: str, path: str) -> httpx.Response:
        port = getattr(self.settings, setting)
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=10)

    def status_of(self, order_id: str) -> str:
        status: str = self.get("order_port", f"/orders/{order_id}").json()["status"]
        return status

    def mail_subjects(self) -> list[str]:
        mails = self.get("mailbox_port", "/api/mails").json()["items"]
        return [mail["subject"] for mail in mails]

    def children(self) -> dict[str, psutil.Process]:
        """The processes whose environment names its data directory, by command line."""
        return {
            " ".join(process.info["cmdline"]): process
            for process in psutil.process_iter(["cmdline", "environ"])
            if (process.info["environ"] or {}).get("QUADRILLE_DATA_DIR")
            == str(self.settings.data_dir)
            and process.pid != self.process.pid
            and process.status() != psutil.STATUS_ZOMBIE
        }

    def child(self, name: str) -> psutil.Process:
        children = [process for command, process in self.children().items() if name in command]
        assert len(children) == 1, f"{name}: {children}"
        return children[0]


@pytest.fixture
def settings(tmp_path: Path) -> ShopSettings:
    return settings_for(tmp_path / "data", "", carrier_success_rate=1)


class Launch:
    """Starts launchers, and kills them after the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._launched: list[Launched] = []

    def __call__(self, settings: ShopSettings, **environment: str) -> Launched:
        directory = self._directory / f"up-{len(self._launched)}"
        self._launched.append(Launched(settings, directory, **environment))
        return self._launched[-1]

    def close(self) -> None:
        for launched in self._launched:
            launched.close()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Launch]:
    launch = Launch(tmp_path)
    yield launch
    launch.close()


async def test_orders_mails_and_data_survive_restart(up: Launch, settings: ShopSettings) -> None:
    first = up(settings)
    await first.is_open()
    first_order = first.curl_line().partition(" -d ")[2]
    order_id = first.paste_curl()["orderId"]
    await eventually(lambda: first.status_of(order_id) == "COMPLETED", within_seconds=30)
    await eventually(lambda: len(first.mail_subjects()) == 3, within_seconds=30)
    assert all(
        str(port_of(first.settings, part)) in first.output
        for part in ("order", "inventory", "shipping", "notifier", "read", "mailbox", "nats")
    )
    assert re.search(r"admin@example.com, password \S{16}", first.output)
    assert re.search(rf"^Data +{first.settings.data_dir} ", first.output, re.MULTILINE)

    assert_secrets_are_withheld(first)
    assert broker_health(first) == {"status": "ok"}
    assert open_to_others(first.settings.data_dir) == []
    logs = (first.settings.data_dir / "logs").glob("*.log")
    assert order_id not in "".join(log.read_text() for log in logs)

    assert first.children()
    assert first.press_ctrl_c() == 0
    assert first.children() == {}
    assert_broker_stopped_last(first.settings)

    second = up(settings_for(first.settings.data_dir, ""))
    await second.is_open(is_new=False)
    assert "password" not in second.output
    assert second.status_of(order_id) == "COMPLETED"
    assert len(second.mail_subjects()) == 3
    stock = second.get("inventory_port", "/products/prod001").json()
    assert stock["available"] == 8
    assert second.curl_line().partition(" -d ")[2] == first_order
    assert second.end(signal.SIGTERM) == 0
    assert second.children() == {}


SECRETS_OF = {
    "order_service": {"NATS_URL", "ADMIN_PASSWORD"},
    "inventory_service": {"NATS_URL"},
    "shipping_service": {"NATS_URL"},
    "notifier_service": {"NATS_URL", "SMTP_URL"},
    "read_api": {"NATS_URL"},
    "quadrille provision": {"NATS_URL"},
    "quadrille.mailbox": set(),
    "nats-server": set(),
}
USER_OF = {"quadrille provision": "provisioner", "read_api": "read"}


def assert_secrets_are_withheld(launched: Launched) -> None:
    """Each process has the secrets that it needs, and of the broker's users only its own."""
    names = {f"QUADRILLE_{secret}" for secret in set.union(*SECRETS_OF.values())}
    for name, secrets in SECRETS_OF.items():
        environment = launched.child(name).environ()
        given = names & {*environment}
        assert given == {f"QUADRILLE_{secret}" for secret in secrets}, name
        if url := environment.get("QUADRILLE_NATS_URL"):
            user = USER_OF.get(name, name.removesuffix("_service"))
            assert url.startswith(f"nats://{user}:")
    users = launched.settings.data_dir / "nats-users"
    assert {file.stat().st_mode & 0o777 for file in users.iterdir()} == {0o600}
    assert f"export NATS_URL={(users / 'viewer.url').read_text()}" in launched.output


def broker_health(launched: Launched) -> dict[str, str]:
    """What the launcher asks its broker; `tests/component/test_nats_server.py` has what it does then."""
    users = launched.settings.data_dir / "nats-users"
    (ports,) = users.glob(f"nats-server_{launched.child('nats-server').pid}.ports")
    (address,) = json.loads(ports.read_text())["monitoring"]
    health: dict[str, str] = httpx.get(f"{address}/healthz", trust_env=False).json()
    return health


def open_to_others(directory: Path) -> list[Path]:
    """Files with any permission for anybody but their owner."""
    return [path for path in (directory, *directory.rglob("*")) if path.stat().st_mode & 0o077]


def assert_broker_stopped_last(settings: ShopSettings) -> None:
    """No service lost its broker while it stopped."""
    logs = settings.data_dir / "logs"
    broker_log = (logs / "nats-server.log").read_text()
    assert "Server Exiting" in broker_log
    for name in ("order", "inventory", "shipping", "notifier", "read"):
        assert "broker.error" not in (logs / f"{name}.log").read_text()


async def test_second_launcher_is_refused_until_first_dies(
    up: Launch, settings: ShopSettings
) -> None:
    first = up(settings, **NO_MAILBOX)
    await first.is_open()
    error = up(settings_for(first.settings.data_dir, "")).error()
    assert f"process {first.process.pid}" in error
    assert "QUADRILLE_DATA_DIR" in error

    first.end(signal.SIGKILL)
    await eventually(lambda: first.children() == {}, within_seconds=STOP_SECONDS)
    FileLock(settings.data_dir / "up.lock", blocking=False).acquire().lock.release()


async def test_killed_processes_are_restarted_until_given_up(
    up: Launch, settings: ShopSettings
) -> None:
    launched = up(settings)
    await launched.is_open()
    for name in ("nats-server", "quadrille.mailbox", "quadrille provision", "shipping"):
        await kill_and_restart(launched, name)
    order_id = launched.paste_curl()["orderId"]
    await eventually(lambda: launched.status_of(order_id) == "COMPLETED", within_seconds=60)

    for _ in range(MAX_ENDS - 2):
        await kill_and_restart(launched, "shipping")
    launched.child("shipping").kill()
    error = launched.error()
    assert "shipping was ended by SIGKILL after 5 starts within a minute" in error
    assert str(launched.settings.data_dir / "logs" / "shipping.log") in error
    assert launched.output.count("started again") == MAX_ENDS + 2
    assert launched.children() == {}


async def kill_and_restart(launched: Launched, name: str) -> None:
    killed = launched.child(name)
    killed.kill()

    def is_restarted() -> bool:
        return launched.child(name).pid != killed.pid

    await eventually(is_restarted, within_seconds=30)


class Detached:
    """`quadrille up --detach` at a terminal that is closed when the command has returned, and commands after it."""

    def __init__(self, settings: ShopSettings) -> None:
        self.data_dir = settings.data_dir
        own = environment_of(settings)
        own = {name: value for name, value in own.items() if name not in OWN_BROKER_AND_MAILBOX}
        self._environment = os.environ | own | NO_MAILBOX  # noqa: TID251 - a child's

    def start(self) -> str:
        """The screen when it has returned."""
        screen, terminal = os.openpty()
        with self._command(
            "up", "--detach", stdin=terminal, stdout=terminal, preexec_fn=control_terminal
        ) as process:
            os.close(terminal)
            output = read_to_end(screen)
        os.close(screen)
        assert process.returncode == 0, output
        return output

    def run(self, *arguments: str, typed: str = "") -> tuple[int, str]:
        """Exit code and output."""
        with self._command(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            output, _ = process.communicate(typed.encode())
        return process.returncode, output.decode()

    def status(self) -> dict[str, dict[str, Any]]:
        """The processes by name."""
        _, output = self.run("status", "--json")
        return {process["name"]: process for process in msgspec.json.decode(output)["processes"]}

    def _command(
        self,
        *arguments: str,
        stdin: int,
        stdout: int,
        preexec_fn: Callable[[], object] | None = None,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "quadrille", *arguments],
            env=self._environment,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=preexec_fn,  # noqa: PLW1509 - only this makes it the controlling terminal
        )


def read_to_end(screen: int) -> str:
    """What is printed until no process has the terminal open any more."""
    output = b""
    with suppress(OSError):  # Linux reports the end of a terminal as an error
        while select.select([screen], [], [], START_SECONDS)[0]:
            if not (chunk := os.read(screen, 4096)):
                return output.decode()
            output += chunk
        pytest.fail(f"the terminal is still in use:\n{output.decode()}")
    return output.decode()


async def test_detached_shop_runs_until_down(settings: ShopSettings) -> None:
    shop = Detached(settings)
    try:
        screen = shop.start()
        assert "password" in screen
        assert "quadrille down" in screen
        code, output = shop.run("status")
        assert code == 0, output
        assert re.search(r"^order +ready .* 0 +0 *$", output, re.MULTILINE)

        killed = shop.status()["shipping"]["pid"]
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: is_restarted(shop, killed), within_seconds=60)
        assert "shipping was ended by SIGKILL; it is started again" in shop.run("logs", "up")[1]
        code, output = shop.run("reset", "--yes")
        assert (code, "quadrille down" in output) == (1, True)
    finally:
        code, output = shop.run("down")
    assert code == 0, output
    assert shop.run("status")[0] == 1
    assert "No `quadrille up` uses" in shop.run("down")[1]
    assert "service.stopped" in shop.run("logs", "order", "--lines", "1")[1]
    assert "password" not in (shop.data_dir / "logs" / "up.log").read_text()


def is_restarted(shop: Detached, pid: int) -> bool:
    shipping = shop.status()["shipping"]
    return shipping["status"] == "ready" and shipping["pid"] not in {pid, None}


def test_refused_setting_stops_the_others_at_once(up: Launch, settings: ShopSettings) -> None:
    launched = up(settings, QUADRILLE_ADMIN_PASSWORD="password", **NO_MAILBOX)
    error = launched.error()
    assert "order refuses to start" in error
    assert "QUADRILLE_ADMIN_PASSWORD: " in launched.output
    assert "started again" not in launched.output
    assert launched.children() == {}


async def test_launcher_can_be_stopped_while_starting(up: Launch, settings: ShopSettings) -> None:
    launched = up(settings)
    await eventually(lambda: "starting" in launched.output, within_seconds=START_SECONDS)
    assert launched.end(signal.SIGINT) == 0
    assert "Traceback" not in launched.output
    assert launched.children() == {}


def test_detached_start_that_fails_is_explained(settings: ShopSettings) -> None:
    with socket.create_server(("127.0.0.1", settings.inventory_port)):
        code, output = Detached(settings).run("up", "--detach")
    assert code == 1
    assert f"port {settings.inventory_port} is in use" in output


def test_port_in_use_is_named_with_owner(up: Launch, settings: ShopSettings) -> None:
    with socket.create_server(("127.0.0.1", settings.inventory_port)):
        error = up(settings).error()
    assert f"port {settings.inventory_port} is in use" in error
    assert "QUADRILLE_INVENTORY_PORT" in error
    assert f"process {os.getpid()}" in error


async def test_given_broker_is_used(up: Launch, settings: ShopSettings, broker: NatsServer) -> None:
    url = broker.url.replace("//", "//someone:password@")
    launched = up(settings, QUADRILLE_NATS_URL=url, **NO_MAILBOX)
    await launched.is_open()
    assert launched.paste_curl()["status"] == "PENDING"
    assert not (settings.data_dir / "logs" / "nats-server.log").exists()
    assert broker.url in launched.output
    assert "someone" not in launched.output
    assert "export NATS_URL" not in launched.output
    assert launched.end(signal.SIGTERM) == 0
