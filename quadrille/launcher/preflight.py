"""What must be true before anything is started: a directory to write to, owned alone, and free ports."""

import errno
import fcntl
import os
import socket
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, NamedTuple

import click

from shared.settings import PREFIX

LOOPBACK = "127.0.0.1"
LISTENING = "0A"
"""As /proc/net/tcp spells it."""


class CannotStart(click.ClickException):
    """One sentence: what is in the way, and what to do; exit code 1."""


class Port(NamedTuple):
    """A port that something will listen on, and the setting that chooses it."""

    setting: str
    host: str
    number: int


def open_data_dir(directory: Path, *parts: str) -> IO[str]:
    """Make the data directory and its parts; returns the file whose lock says that it is ours.

    Raises CannotStart when it can not be written, or another `up` has it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for part in parts:
            (directory / part).mkdir(exist_ok=True)
            (directory / part).chmod(0o700)  # it may be from a release that left it open
        lock = (directory / "up.lock").open("a+")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CannotStart(
            f"the data directory {directory} can not be written ({reason}): "
            f"make it writable, or set {PREFIX}DATA_DIR to one that is"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CannotStart(_occupied(directory, lock)) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _occupied(directory: Path, lock: IO[str]) -> str:
    lock.seek(0)
    holder = lock.read().strip() or "unknown"
    return (
        f"another `quadrille up` (process {holder}) uses {directory}: "
        f"stop that one, or set {PREFIX}DATA_DIR to another directory"
    )


def check_ports(ports: list[Port]) -> None:
    """Raises CannotStart naming every port that is taken, wished twice, or beyond us."""
    times = Counter(wished.number for wished in ports)
    if twice := [wished for wished in ports if times[wished.number] > 1]:
        names = " and ".join(wished.setting for wished in twice)
        raise CannotStart(f"{names} name the same port, {twice[0].number}: give each its own")
    with ExitStack() as held:
        taken = [wished for wished in ports if not _is_free(wished, held)]
    if taken:
        raise CannotStart(_in_use(taken))


def _is_free(wished: Port, held: ExitStack) -> bool:
    """Raises CannotStart when it could not be used even if it were free."""
    try:
        found = socket.getaddrinfo(wished.host, wished.number, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        probe = held.enter_context(socket.socket(family, kind, protocol))
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen()
    except PermissionError as error:
        raise CannotStart(
            f"port {wished.number} may not be used by this user: set {wished.setting} to one above 1023"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise CannotStart(
            f"nothing can listen on {wished.host} ({error.strerror}): "
            f"set {PREFIX}HOST to an address of this machine"
        ) from error
    return True


def _in_use(taken: list[Port]) -> str:
    if len(taken) == 1:
        (wished,) = taken
        return (
            f"port {wished.number} is in use{_by(wished)}: "
            f"stop that, or set {wished.setting} to a free port"
        )
    listed = ", ".join(f"{wished.number} ({wished.setting}){_by(wished)}" for wished in taken)
    return f"ports are in use: {listed}; stop what uses them, or set these to free ports"


def _by(wished: Port) -> str:
    holder = _holder(wished.number)
    return f" by {holder}" if holder else ""


def _holder(number: int) -> str | None:
    """The process that listens, where Linux shows it to us: `nats-server (process 77)`."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(number)}
    for directory in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # it ended, or is another user's
            if any(str(file.readlink()) in sockets for file in (directory / "fd").iterdir()):
                name = (directory / "comm").read_text().strip()
                return f"{name} (process {directory.name})"
    return None


def _listening_inodes(number: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == number:
                    inodes.add(fields[9])
    return inodes
