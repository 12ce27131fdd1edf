"""The data directory of a shop on this machine: what is in it, and whether processes use it."""

import fcntl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from quadrille.endpoints import SERVICES

LAUNCHER_LOCK = "up.lock"
"""Locked by `quadrille up`, and contains its process id."""
BROKER_STORE = "nats"
BROKER_USERS = "nats-users"
LOGS = "logs"
MAILS = "mailbox"
MADE_BY_THE_SHOP = (BROKER_STORE, BROKER_USERS, LOGS, MAILS, "admin-password", LAUNCHER_LOCK)
SQLITE_FILES = ("", "-wal", "-shm", "-journal")
DATABASES = (".db", ".rebuild.db")
"""A service's database, and the one where its tables are being rebuilt."""


def are_services_running(data_dir: Path) -> bool:
    """Whether any of them does: each holds a lock beside its database."""
    return any(is_locked(file) for file in data_dir.glob("*.db.lock"))


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock of this file."""
    with suppress(FileNotFoundError, NotADirectoryError), file.open("rb") as opened:
        try:
            # Shared, and released at once when the file is closed.
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def files_of_the_shop(data_dir: Path) -> Iterator[Path]:
    """Files and directories that services and launcher have made, the launcher's lock last.

    Not what people have put there, such as backups, and not the databases that `quadrille restore` has replaced.
    """
    of_databases = (
        f"{service}{ending}"
        for service in SERVICES
        for ending in (*(base + side for base in DATABASES for side in SQLITE_FILES), ".db.lock")
    )
    for name in (*of_databases, *MADE_BY_THE_SHOP):
        if (path := data_dir / name).exists():
            yield path
