"""Copies the databases of a shop, while it runs or not."""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from quadrille.recovery import manifest
from quadrille.recovery.database_files import READ, copy_online, existing, open_read_only
from quadrille.recovery.manifest import DatabaseCopy, Manifest
from shared.chassis.errors import FatalError
from shared.chassis.messages import clock
from shared.chassis.settings import ChassisSettings

ARCHIVE_TIMEOUT_SECONDS = 10
STALLED_SECONDS = 1
"""A read API that applies nothing for this long is not waited for."""
POLL_SECONDS = 0.05


def back_up(directory: Path, settings: ChassisSettings, services: Sequence[str] = ()) -> Manifest:
    """Copy the databases of these services, or of all, into a new or empty directory. Raises FatalError."""
    files = existing(settings, services)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FatalError(f"{directory} is not empty: name a new directory")
    created_at = clock.now()
    copies = []
    for service, file in files.items():
        if service == READ:
            _await_archive(files)
        target = directory / f"{service}.db"
        copy_online(file, target)
        copies.append(manifest.describe(target, service))
    complete = Manifest(created_at=created_at, databases=copies)
    manifest.write(directory, complete)
    return complete


def verify(directory: Path) -> Manifest:
    """Raises FatalError for a backup that could not be restored completely."""
    complete = manifest.read(directory)
    manifest.verify(directory, complete.databases)
    return complete


def events_in(copy: DatabaseCopy) -> int:
    """The number of events in its log, or in the read API's archive."""
    return sum(copy.positions.values())


def _await_archive(files: Mapping[str, Path]) -> None:
    """Wait until the read API has applied what the logs contain now.

    Its archive then contains every event that any of the copies refers to: services that are restored without the
    broker's stream agree with each other again. A read API that does not run makes no progress.
    """
    logs = {service: file for service, file in files.items() if service != READ}
    target = {service: _last_position(file) for service, file in logs.items()}
    started_at = moved_at = time.monotonic()
    missing = _missing(files[READ], target)
    while missing and time.monotonic() - started_at < ARCHIVE_TIMEOUT_SECONDS:
        if time.monotonic() - moved_at > STALLED_SECONDS:
            return
        time.sleep(POLL_SECONDS)
        left = _missing(files[READ], target)
        moved_at = time.monotonic() if left != missing else moved_at
        missing = left


def _missing(read_database: Path, target: Mapping[str, int]) -> int:
    query = "SELECT json_group_object(source, applied) FROM positions"
    applied = msgspec.json.decode(_value(read_database, query), type=dict[str, int])
    return sum(max(0, position - applied.get(source, 0)) for source, position in target.items())


def _last_position(file: Path) -> int:
    return int(_value(file, "SELECT coalesce(max(position), 0) FROM event_log"))


def _value(file: Path, query: str) -> str:
    """The only value of the result, as text. Raises FatalError."""
    try:
        with closing(open_read_only(file)) as reader:
            return str(reader.execute(query).fetchone()[0])
    except sqlite3.Error as error:
        raise FatalError(f"{file} cannot be read: {error}") from error
