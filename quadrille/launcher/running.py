"""The `quadrille up` that uses a data directory, seen from another process."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from quadrille.data_directory import LAUNCHER_LOCK, is_locked
from quadrille.launcher import nats_server
from quadrille.launcher.configuration import MAILBOX, SERVICES
from quadrille.launcher.nats_users import PROVISIONER

POLL_SECONDS = 0.05
MODULES = {part.module: part.name for part in (*SERVICES, MAILBOX)}


def launcher_of(data_dir: Path) -> psutil.Process | None:
    """The launcher that uses this directory, if one does."""
    lock_file = data_dir / LAUNCHER_LOCK
    if not is_locked(lock_file):
        return None
    with suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(lock_file.read_text()))
        if "up" in process.cmdline():
            return process
    return None


def processes_of(launcher: psutil.Process) -> dict[str, psutil.Process]:
    """Its processes by name; one that is being started again is missing."""
    with suppress(psutil.Error):
        return {name: process for process in launcher.children() for name in _names(process)}
    return {}


def stop(launcher: psutil.Process, timeout_seconds: float) -> bool:
    """Ask it to stop everything; False if it still runs after that time."""
    deadline = time.monotonic() + timeout_seconds
    with suppress(psutil.NoSuchProcess):
        launcher.terminate()
        while launcher.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
    return True


def _names(process: psutil.Process) -> Iterator[str]:
    """Its one name; none for a process that is no part of the shop, or has just ended."""
    with suppress(psutil.Error):
        match process.cmdline():
            case [path, *_] if Path(path).name == nats_server.NAME:
                yield nats_server.NAME
            case [_, "-m", "quadrille", "provision"]:
                yield PROVISIONER
            case [_, "-m", module] if module in MODULES:
                yield MODULES[module]
