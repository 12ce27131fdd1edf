"""What must be true before anything is started: a writable data directory of our own, and free ports."""

import errno
import os
import socket
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import click
import psutil
from filelock import FileLock, Timeout

from quadrille.data_directory import LAUNCHER_LOCK
from shared.chassis.settings import PREFIX

LOOPBACK = "127.0.0.1"


class CannotStart(click.ClickException):
    """One sentence: what is in the way, and what to do; exit code 1."""


class Port(NamedTuple):
    """A port that something will listen on, and the setting that chooses it."""

    setting: str
    host: str
    number: int


def lock_data_dir(directory: Path, *parts: str) -> FileLock:
    """Make the data directory and its parts, and hold its lock until that is released.

    Raises CannotStart if it cannot be written, or another `up` uses it.
    """
    lock_file = directory / LAUNCHER_LOCK
    lock = FileLock(lock_file, blocking=False)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for part in parts:
            (directory / part).mkdir(exist_ok=True)
            (directory / part).chmod(0o700)  # an earlier release may have left it open to others
        lock.acquire()
        lock_file.write_text(f"{os.getpid()}\n")
    except Timeout as error:
        raise CannotStart(
            f"another `quadrille up` (process {lock_file.read_text().strip() or 'unknown'}) uses "
            f"{directory}: stop that one (quadrille down), or set {PREFIX}DATA_DIR to another directory"
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CannotStart(
            f"the data directory {directory} cannot be written ({reason}): "
            f"make it writable, or set {PREFIX}DATA_DIR to one that is"
        ) from error
    return lock


def check_ports(ports: list[Port]) -> None:
    """Raises CannotStart naming every port that is in use, set twice, or not allowed."""
    times = Counter(port.number for port in ports)
    if same := [port for port in ports if times[port.number] > 1]:
        names = " and ".join(port.setting for port in same)
        raise CannotStart(f"{names} name the same port, {same[0].number}: give each its own")
    with ExitStack() as probes:  # all of them open at once, so that none hides another
        in_use = [port for port in ports if not _is_free(port, probes)]
    if in_use:
        raise CannotStart(_in_use(in_use))


def _is_free(port: Port, probes: ExitStack) -> bool:
    """Raises CannotStart if nobody could use it, or not this user."""
    try:
        addresses = socket.getaddrinfo(port.host, port.number, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = addresses[0]
        probe = probes.enter_context(socket.socket(family, kind, protocol))
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen()
    except PermissionError as error:
        raise CannotStart(
            f"this user may not use port {port.number}: set {port.setting} to one above 1023"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise CannotStart(
            f"nothing can listen on {port.host} ({error.strerror}): "
            f"set {PREFIX}HOST to an address of this machine"
        ) from error
    return True


def _in_use(ports: list[Port]) -> str:
    owners = _owners()
    if len(ports) == 1:
        (port,) = ports
        return (
            f"port {port.number} is in use{owners.get(port.number, '')}: "
            f"stop that, or set {port.setting} to a free port"
        )
    names = ", ".join(
        f"{port.number} ({port.setting}){owners.get(port.number, '')}" for port in ports
    )
    return f"ports are in use: {names}; stop what uses them, or set these to free ports"


def _owners() -> dict[int, str]:
    """Who listens on which port, where the system shows it to us: ` by nats-server (process 77)`."""
    try:
        listening = [
            (connection.laddr.port, psutil.Process(connection.pid))
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.pid
        ]
        return {port: f" by {owner.name()} (process {owner.pid})" for port, owner in listening}
    except psutil.Error:
        return {}
