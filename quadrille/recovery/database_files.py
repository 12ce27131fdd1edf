"""The database files of one data directory, and how one is copied and replaced."""

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

from quadrille.endpoints import SERVICES
from quadrille.recovery.manifest import sync_directory
from shared.chassis.errors import FatalError
from shared.chassis.settings import ChassisSettings
from shared.chassis.storage.database import database_url

READ = "read"
SIDE_FILES = ("-wal", "-shm", "-journal")
OWNER_ONLY = 0o600


def file_of(service: str, settings: ChassisSettings) -> Path:
    return Path(make_url(database_url(service, settings)).database or "")


def existing(settings: ChassisSettings, services: Sequence[str]) -> dict[str, Path]:
    """The files by service. Raises FatalError if one was asked for and does not exist, or none does."""
    if settings.database_url and len(services) != 1:
        raise FatalError("QUADRILLE_DATABASE_URL is the database of one service: name that one")
    files = {service: file_of(service, settings) for service in services or SERVICES}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing and (services or len(missing) == len(files)):
        raise FatalError(f"{missing[0]} does not exist: set QUADRILLE_DATA_DIR")
    return {service: file for service, file in files.items() if file.is_file()}


def open_read_only(file: Path) -> sqlite3.Connection:
    """While its service writes to it or not. Raises sqlite3.Error."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


def copy_online(source: Path, target: Path) -> None:
    """Copy a database at one moment, while its service writes to it or not. Raises FatalError.

    The copy is one file without a write-ahead log, which only its owner may read.
    """
    _create_private(target)
    try:
        with (
            closing(open_read_only(source)) as reader,
            closing(sqlite3.connect(target)) as writer,
        ):
            reader.backup(writer)
            writer.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise FatalError(f"{source} cannot be copied: {error}") from error
    _sync(target)


def replace(copy: Path, target: Path, aside: Path) -> Path | None:
    """Put a copy where a service expects its database.

    What was there is moved aside, with its side files; returns the directory if there was anything.
    """
    was_there = target.exists()
    if was_there:
        _set_aside(target, aside)
    _place(copy, target)
    return aside if was_there else None


def _create_private(file: Path) -> None:
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY))


def _place(copy: Path, target: Path) -> None:
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    _create_private(new)
    shutil.copyfile(copy, new)
    _sync(new)
    new.replace(target)
    sync_directory(target.parent)


def _set_aside(file: Path, directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    for part in (file, *(file.with_name(file.name + suffix) for suffix in SIDE_FILES)):
        if part.exists():
            part.replace(directory / part.name)
    sync_directory(directory)
    sync_directory(file.parent)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
