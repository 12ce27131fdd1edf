"""One service as a process of its own, over the settings a test chooses."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from shared.chassis.settings import ChassisSettings
from shared.settings import ShopSettings, port_of
from tests.support.settings import environment_of

ROOT = Path(__file__).parents[2]
END_SECONDS = 20


class ServiceProcess:
    """A running service, or one that has refused to run."""

    def __init__(self, module: str, port: int, settings: ChassisSettings) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=environment_of(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def waiting_for(self) -> list[str] | None:
        """What it waits for according to `/health/ready`: [] when it is ready, None while nothing answers."""
        try:
            document = httpx.get(f"{self._url}/health/ready").json()
        except httpx.TransportError:
            return None
        reasons: list[str] = document["waitingFor"]
        return reasons

    def is_ready(self) -> bool:
        return self.waiting_for() == []

    def stop(self) -> None:
        """Ask it to stop; it must do so with exit code 0."""
        self._process.terminate()
        code, output = self.ended()
        assert code == 0, output

    def ended(self) -> tuple[int, str]:
        """Exit code and output of a process that ends without being stopped."""
        output, _ = self._process.communicate(timeout=END_SECONDS)
        return self._process.returncode, output

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def service_process(name: str, settings: ShopSettings) -> Iterator[ServiceProcess]:
    """The service `order`, `inventory`, … or `read`, until the end of the block."""
    module = "read_api" if name == "read" else f"{name}_service"
    process = ServiceProcess(module, port_of(settings, name), settings)
    try:
        yield process
    finally:
        process.kill()
