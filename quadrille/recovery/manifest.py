"""What a backup contains: `manifest.json` beside the copies, written last, so that an interrupted backup has none."""

import hashlib
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from shared import VERSION
from shared.chassis.errors import FatalError
from shared.chassis.secret_file import write_secret
from shared.chassis.storage.database_identity import FIRST_FORMAT, FORMAT

MANIFEST = "manifest.json"


class DatabaseCopy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The copy of one service's database."""

    service: str
    file: str
    format: int
    database_id: str
    positions: Mapping[str, int]
    """The last position of the service's log; in the read API's copy, the last applied one of each log."""
    inbox: int
    """The number of processed events that it remembers."""
    size: int
    """In bytes."""
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The copies of one backup."""

    created_at: datetime
    release: str = VERSION
    databases: Sequence[DatabaseCopy]

    def copy_of(self, service: str) -> DatabaseCopy | None:
        return next((copy for copy in self.databases if copy.service == service), None)


class _Facts(NamedTuple):
    format: int
    database_id: str
    positions: Mapping[str, int]
    inbox: int


def describe(file: Path, service: str) -> DatabaseCopy:
    """The entry for a copy. Raises FatalError for a damaged one."""
    facts = _read_facts(file, service)
    return DatabaseCopy(
        service=service,
        file=file.name,
        format=facts.format,
        database_id=facts.database_id,
        positions=facts.positions,
        inbox=facts.inbox,
        size=file.stat().st_size,
        sha256=_sha256(file),
    )


def write(directory: Path, manifest: Manifest) -> None:
    """After this the backup is complete."""
    new = directory / f".{MANIFEST}.new"
    write_secret(new, msgspec.json.format(msgspec.json.encode(manifest)).decode())
    new.replace(directory / MANIFEST)
    sync_directory(directory)


def read(directory: Path) -> Manifest:
    """Raises FatalError for a directory that is no backup."""
    file = directory / MANIFEST
    try:
        return msgspec.json.decode(file.read_bytes(), type=Manifest)
    except OSError as error:
        raise FatalError(f"{directory} is no complete backup: {file} cannot be read") from error
    except msgspec.MsgspecError as error:
        raise FatalError(f"{file} is no manifest of a backup: {error}") from error


def verify(directory: Path, copies: Sequence[DatabaseCopy]) -> None:
    """Raises FatalError for a copy that is missing, changed, damaged, or of a release that is newer than this one."""
    for copy in copies:
        file = directory / copy.file
        if file.parent != directory or not file.is_file():
            raise FatalError(f"{file} is missing: use another backup")
        if file.stat().st_size != copy.size or _sha256(file) != copy.sha256:
            raise FatalError(f"{file} is not as it was copied: use another backup")
        if not FIRST_FORMAT <= copy.format <= FORMAT:
            raise FatalError(
                f"{file} has format {copy.format}, this release uses {FORMAT}: "
                "restore it with the release that made it"
            )
        if _read_facts(file, copy.service).database_id != copy.database_id:
            raise FatalError(f"{file} is not the database that {MANIFEST} names")


def sync_directory(directory: Path) -> None:
    """Make the names in it survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_facts(file: Path, service: str) -> _Facts:
    """From a file that no process writes. Raises FatalError."""
    url = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(url, uri=True)) as connection:
            fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if fault != "ok":
                raise FatalError(f"{file} is damaged: {fault}")
            return _facts(connection, file, service)
    except sqlite3.DatabaseError as error:
        raise FatalError(f"{file} cannot be read: {error}") from error


def _facts(connection: sqlite3.Connection, file: Path, service: str) -> _Facts:
    identity = "SELECT database_id, service, format FROM database_identity"
    database_id, owner, database_format = connection.execute(identity).fetchone()
    if owner != service:
        raise FatalError(f"{file} is the database of {owner}, not of {service}")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if "positions" in tables:
        positions = dict(connection.execute("SELECT source, applied FROM positions"))
    else:
        last = connection.execute("SELECT max(position) FROM event_log").fetchone()[0]
        positions = {service: last or 0}
    inbox = connection.execute("SELECT count(*) FROM inbox").fetchone()[0]
    return _Facts(database_format, database_id, positions, inbox)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
