"""Puts copies of a backup back into the data directory."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, make_url

from order_service.accounts import sessions
from quadrille.endpoints import DECIDING
from quadrille.recovery import manifest
from quadrille.recovery.database_files import file_of, replace
from quadrille.recovery.manifest import DatabaseCopy
from shared.chassis.errors import FatalError
from shared.chassis.messages import clock
from shared.chassis.settings import ChassisSettings
from shared.chassis.storage import database_identity
from shared.chassis.storage.database import database_url, open_for_writing


class Restored(NamedTuple):
    """A database that was put back."""

    copy: DatabaseCopy
    file: Path
    replaced: Path | None
    """Where the file is now that was there before."""


async def restore(
    directory: Path, settings: ChassisSettings, services: Sequence[str], *, force: bool
) -> list[Restored]:
    """Put back the copies of these services, or all of them. Raises FatalError before anything has changed."""
    copies = _select(manifest.read(directory), directory, services)
    manifest.verify(directory, copies)
    files = {copy.service: file_of(copy.service, settings) for copy in copies}
    with ExitStack() as locks:
        for service, file in files.items():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            locks.enter_context(database_identity.lock(make_url(database_url(service, settings))))
            if file.exists() and not force:
                raise FatalError(f"{file} exists: --force replaces it and keeps it aside")
        name = f"replaced-{clock.now():%Y%m%dT%H%M%S%fZ}"
        return [
            await _put_back(directory / copy.file, copy, files[copy.service], settings, name)
            for copy in copies
        ]


def _mark(connection: Connection, service: str) -> None:
    """Make the service receive every event in the stream again: it may have handled some since the copy.

    A session may have ended since, as after a change of password, so all of them end.
    """
    database_identity.renew(connection, is_restored=service in DECIDING)
    if service == "order":
        sessions.end_all(connection)


def _select(
    backup: manifest.Manifest, directory: Path, services: Sequence[str]
) -> list[DatabaseCopy]:
    if not services:
        return list(backup.databases)
    return list(_named(backup, directory, services))


def _named(
    backup: manifest.Manifest, directory: Path, services: Sequence[str]
) -> Iterator[DatabaseCopy]:
    for service in dict.fromkeys(services):
        copy = backup.copy_of(service)
        if copy is None:
            raise FatalError(f"{directory} contains no copy of the database of {service}")
        yield copy


async def _put_back(
    source: Path, copy: DatabaseCopy, target: Path, settings: ChassisSettings, aside: str
) -> Restored:
    replaced = replace(source, target, target.parent / aside)
    database = open_for_writing(database_url(copy.service, settings))
    try:
        await database.run(partial(_mark, service=copy.service))
    finally:
        await database.close()
    return Restored(copy, target, replaced)
