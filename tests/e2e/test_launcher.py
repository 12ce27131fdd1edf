"""`quadrille up` as people meet it: what it prints, what its curl line does, and how it ends."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.settings import Settings, port_of
from tests.support.broker import NatsServer
from tests.support.eventually import eventually
from tests.support.settings import environment_of, settings_for

START_SECONDS = 90
STOP_SECONDS = 30
GIVEN = ("QUADRILLE_NATS_URL", "QUADRILLE_SMTP_URL")


class Launched:
    """One `quadrille up` and what it has printed."""

    def __init__(self, settings: Settings, directory: Path, **environment: str) -> None:
        directory.mkdir(exist_ok=True)
        self.settings = settings
        self._environment = environment
        self._output = directory / "up.out"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        ours = environment_of(self.settings)
        ours = {name: value for name, value in ours.items() if name not in GIVEN}
        with self._output.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "quadrille", "up"],
                env=os.environ | ours | self._environment,  # noqa: TID251 - a child's
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    async def is_open(self, *, is_new: bool = True) -> None:
        """Wait for the table; start on other ports when another test was quicker to take one of ours."""
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

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(STOP_SECONDS)

    def sentence(self) -> str:
        """The one it ends with when it can not go on."""
        code = self.process.wait(START_SECONDS)
        assert code == 1, self.output
        assert "Traceback" not in self.output
        *_, last = self.output.strip().splitlines()
        return last

    def curl(self) -> dict[str, Any]:
        """Paste the line it shows."""
        (line,) = re.findall(r"^curl .*$", self.output, re.MULTILINE)
        pasted = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
        order: dict[str, Any] = httpx.Response(200, content=pasted.stdout).json()
        return order

    def get(self, setting: str, path: str) -> httpx.Response:
        port = getattr(self.settings, setting)
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=10)

    def status_of(self, order_id: str) -> str:
        status: str = self.get("order_port", f"/orders/{order_id}").json()["status"]
        return status

    def children(self) -> set[int]:
        """The processes whose environment names its data directory."""
        wanted = f"QUADRILLE_DATA_DIR={self.settings.data_dir}".encode()
        return {
            int(directory.name)
            for directory in Path("/proc").glob("[0-9]*")
            if _mentions(directory, wanted) and int(directory.name) != self.process.pid
        }


def _mentions(directory: Path, wanted: bytes) -> bool:
    try:
        return wanted in (directory / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "data", "", carrier_success_rate=1)


@pytest.fixture
def running(tmp_path: Path, settings: Settings) -> Iterator[Launched]:
    launched = Launched(settings, tmp_path)
    yield launched
    launched.process.kill()
    launched.process.wait()


def up(tmp_path: Path, settings: Settings, **environment: str) -> Launched:
    return Launched(settings, tmp_path / "another", **environment)


async def test_its_curl_line_orders_its_mailbox_shows_and_all_is_kept(
    running: Launched, tmp_path: Path
) -> None:
    await running.is_open()
    order_id = running.curl()["orderId"]
    await eventually(lambda: running.status_of(order_id) == "COMPLETED", within_seconds=30)
    await eventually(lambda: len(subjects(running)) == 3, within_seconds=30)
    assert all(
        str(port_of(running.settings, part)) in running.output
        for part in ("order", "inventory", "shipping", "notifier", "read", "mailbox", "nats")
    )
    assert re.search(r"admin@example.com, password \S{16}", running.output)

    assert_secrets_are_withheld(running)
    assert open_to_others(running.settings.data_dir) == []
    assert order_id not in "".join(log.read_text() for log in logs(running.settings))

    assert running.children()
    assert running.end(signal.SIGINT) == 0
    assert running.children() == set()

    kept = settings_for(running.settings.data_dir, "")
    again = up(tmp_path, kept)
    await again.is_open(is_new=False)
    assert "password" not in again.output
    assert again.status_of(order_id) == "COMPLETED"
    assert len(subjects(again)) == 3
    stock = again.get("inventory_port", "/products/prod001").json()
    assert stock["available"] == 8
    assert again.end(signal.SIGTERM) == 0
    assert again.children() == set()


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
    for name, secrets in SECRETS_OF.items():
        environ = environment_at(pid_of(launched, name))
        given = {f"QUADRILLE_{secret}" for secret in set.union(*SECRETS_OF.values())} & {*environ}
        assert given == {f"QUADRILLE_{secret}" for secret in secrets}, name
        if url := environ.get("QUADRILLE_NATS_URL"):
            user = USER_OF.get(name, name.removesuffix("_service"))
            assert url.startswith(f"nats://{user}:")
    users = launched.settings.data_dir / "nats-users"
    assert {file.stat().st_mode & 0o777 for file in users.iterdir()} == {0o600}
    assert f"export NATS_URL={(users / 'viewer.url').read_text()}" in launched.output


def environment_at(pid: int) -> dict[str, str]:
    environ = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(line.partition("=")[::2] for line in environ.split("\0") if line)


def logs(settings: Settings) -> list[Path]:
    return list((settings.data_dir / "logs").glob("*.log"))


def open_to_others(directory: Path) -> list[Path]:
    """What anybody but the owner may do anything with."""
    return [path for path in (directory, *directory.rglob("*")) if path.stat().st_mode & 0o077]


def subjects(launched: Launched) -> list[str]:
    return [mail["subject"] for mail in launched.get("mailbox_port", "/api/mails").json()["items"]]


async def test_a_second_one_on_the_same_data_is_refused(running: Launched, tmp_path: Path) -> None:
    await running.is_open()
    second = up(tmp_path, settings_for(running.settings.data_dir, ""))
    sentence = second.sentence()
    assert f"process {running.process.pid}" in sentence
    assert "QUADRILLE_DATA_DIR" in sentence
    assert running.end() == 0


async def test_a_child_that_dies_is_named_and_ends_the_others(running: Launched) -> None:
    await running.is_open()
    os.kill(pid_of(running, "shipping_service"), signal.SIGKILL)
    sentence = running.sentence()
    assert "shipping ended by itself with signal SIGKILL" in sentence
    assert str(running.settings.data_dir / "logs" / "shipping.log") in sentence
    assert running.children() == set()


async def test_the_broker_is_minded_like_the_others(running: Launched) -> None:
    await running.is_open()
    os.kill(pid_of(running, "nats-server"), signal.SIGKILL)
    sentence = running.sentence()
    assert "nats-server ended by itself with signal SIGKILL" in sentence
    assert running.children() == set()


async def test_nothing_outlives_a_launcher_that_is_killed(running: Launched) -> None:
    await running.is_open()
    running.end(signal.SIGKILL)
    await eventually(lambda: running.children() == set(), within_seconds=STOP_SECONDS)


async def test_a_child_whose_reader_is_killed_is_missed_too(running: Launched) -> None:
    await running.is_open()
    os.kill(pid_of(running, "quadrille up"), signal.SIGKILL)
    assert "ended by itself with signal SIGKILL" in running.sentence()
    assert running.children() == set()


def pid_of(launched: Launched, name: str) -> int:
    return min(
        pid
        for pid in launched.children()
        if name in Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    )


async def test_it_can_be_stopped_while_it_starts(running: Launched) -> None:
    await eventually(lambda: "starting" in running.output, within_seconds=START_SECONDS)
    assert running.end() == 0
    assert "Traceback" not in running.output
    assert running.children() == set()


def test_a_port_in_use_is_named_with_its_setting_and_its_holder(
    tmp_path: Path, settings: Settings
) -> None:
    with socket.create_server(("127.0.0.1", settings.inventory_port)):
        sentence = up(tmp_path, settings).sentence()
    assert f"port {settings.inventory_port} is in use" in sentence
    assert "QUADRILLE_INVENTORY_PORT" in sentence
    assert f"process {os.getpid()}" in sentence


def test_one_port_for_two_is_refused(tmp_path: Path, settings: Settings) -> None:
    sentence = up(tmp_path, settings, QUADRILLE_READ_API_PORT=str(settings.order_port)).sentence()
    assert "QUADRILLE_READ_API_PORT and QUADRILLE_ORDER_PORT" in sentence


def test_a_data_directory_that_can_not_be_written_is_said(
    tmp_path: Path, settings: Settings
) -> None:
    settings.data_dir.write_text("a file in its place")
    sentence = up(tmp_path, settings).sentence()
    assert str(settings.data_dir) in sentence
    assert "QUADRILLE_DATA_DIR" in sentence


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("QUADRILLE_ORDERPORT", "1", "did you mean QUADRILLE_ORDER_PORT?"),
        ("QUADRILLE_ORDER_PORT", "many", "QUADRILLE_ORDER_PORT"),
        ("QUADRILLE_DATABASE_URL", "sqlite+aiosqlite:///x.db", "QUADRILLE_DATABASE_URL"),
        ("QUADRILLE_HOST", "192.0.2.1", "QUADRILLE_HOST"),
    ],
)
def test_a_setting_that_can_not_be_is_said(
    tmp_path: Path, settings: Settings, name: str, value: str, words: str
) -> None:
    assert words in up(tmp_path, settings, **{name: value}).sentence()


async def test_a_broker_that_is_given_is_used(
    tmp_path: Path, settings: Settings, broker: NatsServer
) -> None:
    url = broker.url.replace("//", "//someone:password@")
    launched = up(tmp_path, settings, QUADRILLE_NATS_URL=url)
    try:
        await launched.is_open()
        assert launched.curl()["status"] == "PENDING"
        assert not (settings.data_dir / "logs" / "nats-server.log").exists()
        assert broker.url in launched.output
        assert "someone" not in launched.output
        assert "export NATS_URL" not in launched.output
        assert launched.end() == 0
    finally:
        launched.process.kill()
        launched.process.wait()
