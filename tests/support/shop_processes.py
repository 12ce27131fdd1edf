"""A nats-server, a mail sink and the five services as processes, over one directory that outlives them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from quadrille.launcher.nats_users import PROVISIONER
from shared.settings import port_of
from tests.support.broker import NatsServer
from tests.support.eventually import eventually
from tests.support.mail_sink import MailSink
from tests.support.ports import free_port
from tests.support.settings import environment_of, settings_for

ROOT = Path(__file__).parents[2]
MODULES = {
    "order": "order_service",
    "inventory": "inventory_service",
    "shipping": "shipping_service",
    "notifier": "notifier_service",
    "read": "read_api",
}
PORT_SETTINGS = {
    "order": "ORDER_PORT",
    "inventory": "INVENTORY_PORT",
    "shipping": "SHIPPING_PORT",
    "notifier": "NOTIFIER_PORT",
    "read": "READ_API_PORT",
}
READY_SECONDS = 60
SECOND_SECONDS = 40
STOP_SECONDS = 10
SHOWN_LOG_LINES = 60


class ShopProcesses:
    """Starts, stops and kills services by name."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.broker = NatsServer(directory / "nats", has_users=True)
        self.mail = MailSink()
        self._logs = directory / "logs"
        self.settings = settings_for(
            directory / "data", self.broker.url, smtp_url=self.mail.url, **settings
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._provisioner: subprocess.Popen[bytes] | None = None
        self._log_marks: dict[str, int] = {}
        self._http = httpx.Client(timeout=30, trust_env=False, verify=False)

    def close(self) -> None:
        """End everything, in any state."""
        processes = [*self._running.values(), *filter(None, [self._provisioner])]
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        self._running.clear()
        self.broker.terminate()
        self.mail.stop()
        self._http.close()

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir

    def url(self, name: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port(name)}{path}"

    def port(self, name: str) -> int:
        return port_of(self.settings, name)

    def running(self) -> list[str]:
        """The names of the services that were started and not stopped."""
        return list(self._running)

    async def start_processes(self, *names: str) -> None:
        """Start mail sink, broker and these services, and wait for them."""
        self.mail.start()
        self.broker.start()
        for name in names:
            self.start_service(name)
        await self.until_ready(*names)

    def start_service(self, name: str, *, through: Sequence[str] = (), **settings: str) -> None:
        """Start one, with settings of its own such as `failpoint="after_commit:3"`.

        `through` names a module that changes something and then runs the service's, with its arguments.
        """
        assert name not in self._running, f"{name} runs already"
        own = {f"QUADRILLE_{setting.upper()}": value for setting, value in settings.items()}
        if not self._provisioner:
            self._provisioner = self._spawn(PROVISIONER, ["quadrille", "provision"], {})
        self._running[name] = self._spawn(name, [*through, MODULES[name]], own)

    def _spawn(self, name: str, module: list[str], own: dict[str, str]) -> subprocess.Popen[bytes]:
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._log_file(name).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=self.environment(name) | own,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def environment(self, name: str) -> dict[str, str]:
        """Of this service, or of a command that acts as its user."""
        outside = {
            name: value
            for name, value in os.environ.items()  # noqa: TID251 - passed on to the processes
            if not name.startswith("QUADRILLE_")
        }
        user = {"QUADRILLE_NATS_URL": self.nats_url(name)}
        return outside | environment_of(self.settings) | user

    def nats_url(self, name: str) -> str:
        """With which this service, or the provisioner, connects."""
        return self.broker.url_of(name)

    async def restart(self, name: str, **settings: str) -> None:
        """Stop one and start it again, perhaps with other settings."""
        self.terminate(name)
        self.start_service(name, **settings)
        await self.until_ready(name)

    async def until_ready(self, *names: str) -> None:
        for name in names:
            await eventually(lambda name=name: self._is_ready(name), READY_SECONDS)

    def _is_ready(self, name: str) -> bool:
        if self.has_ended(name):
            raise RuntimeError(f"{name} has ended:\n{self.marked_logs()}")
        response = self.health(name, "ready")
        assert response is None or response.status_code == 200, f"{name}: {response.text}"
        return response is not None

    def health(self, name: str, kind: str) -> httpx.Response | None:
        """The answer at `/health/live` or `/health/ready`; None while the service does not listen."""
        try:
            return self._http.get(self.url(name, f"/health/{kind}"))
        except httpx.TransportError:
            return None

    def kill(self, *names: str) -> None:
        """End these as by `kill -9`."""
        for name in names:
            self._running[name].kill()
        for name in names:
            self.wait_exit(name)

    def terminate(self, *names: str) -> None:
        """Stop these, all at once; each must do so with exit code 0 within ten seconds."""
        started_at = time.monotonic()
        for name in names:
            self._running[name].terminate()
        for name in names:
            left = started_at + STOP_SECONDS - time.monotonic()
            code = self.wait_exit(name, within_seconds=max(left, 0))
            assert code == 0, f"{name} ended with {code} on SIGTERM"

    def wait_exit(self, name: str, within_seconds: float = STOP_SECONDS) -> int:
        """The exit code of a process that ends, negative for a signal's."""
        try:
            code = self._running[name].wait(within_seconds)
        except subprocess.TimeoutExpired:
            self._running[name].send_signal(signal.SIGABRT)  # it then prints where its threads are
            self._running[name].wait()
            end = "\n".join(self.log(name).splitlines()[-SHOWN_LOG_LINES:])
            raise AssertionError(f"{name} still ran after {within_seconds:.1f} s:\n{end}") from None
        del self._running[name]
        return code

    def pause(self, name: str) -> None:
        """Freeze it, as a machine does that swaps."""
        self._running[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Continue after `pause`."""
        self._running[name].send_signal(signal.SIGCONT)

    def start_second(self, name: str) -> int | None:
        """The exit code of another process of a service that runs, on its database and a port of its own.

        None if it runs too.
        """
        port = {f"QUADRILLE_{PORT_SETTINGS[name]}": str(free_port())}
        process = self._spawn(name, [MODULES[name]], port)
        try:
            return process.wait(SECOND_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()
            process.wait()

    def has_ended(self, name: str) -> bool:
        return self._running[name].poll() is not None

    def delete_database(self, name: str) -> None:
        """As if the service had never run."""
        assert name not in self._running, f"{name} still runs"
        for file in self.data_dir.glob(f"{name}.db*"):
            file.unlink()

    def mark_logs(self) -> None:
        """`marked_logs` shows what is logged from now on."""
        self._log_marks = {name: len(self.log(name)) for name in MODULES}

    def marked_logs(self) -> str:
        """The end of each log, as far as it was written since `mark_logs`."""
        lines = []
        for name in MODULES:
            new_lines = self.log(name)[self._log_marks.get(name, 0) :].splitlines()
            lines += [f"--- {name}", *new_lines[-SHOWN_LOG_LINES:]]
        return "\n".join(lines)

    def log(self, name: str) -> str:
        file = self._log_file(name)
        return file.read_text() if file.exists() else ""

    def _log_file(self, name: str) -> Path:
        return self._logs / f"{name}.log"
