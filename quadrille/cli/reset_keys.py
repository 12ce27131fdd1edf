"""`quadrille reset-keys`: makes the services trust a new first signing key, and a new key of links in mails."""

import asyncio
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click
from sqlalchemy import Connection

from order_service.accounts import private_keys, sessions
from quadrille.cli.params import json_option, services_argument
from quadrille.endpoints import load_settings
from quadrille.output import echo, echo_json
from quadrille.recovery.database_files import existing
from shared.chassis.errors import FatalError
from shared.chassis.http import links, signing_keys
from shared.chassis.storage import database_identity
from shared.chassis.storage.database import Database, open_for_writing


@click.command("reset-keys")
@services_argument
@json_option
def reset_keys(services: tuple[str, ...], *, as_json: bool) -> None:
    """For an order service whose private keys are lost: changes the database files of these services, or of all in
    QUADRILLE_DATA_DIR. Stop all services first. At its next start the order service publishes a new key, which every
    service whose keys were reset then trusts without proof; all users have to sign in again. The same holds for the
    notifier's key, which links in mails are signed with.

    Run it for every service: one whose keys are not reset rejects all new tokens.
    """
    try:
        files = existing(load_settings(), services)
        asyncio.run(_reset(files))
    except FatalError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        echo_json({"services": list(files)})
    else:
        echo(
            f"The keys of {', '.join(files)} are reset: start the services, the order service last"
        )


async def _reset(files: dict[str, Path]) -> None:
    """Raises FatalError, before anything has changed if a process uses one of the files."""
    databases = {service: open_for_writing(f"sqlite:///{file}") for service, file in files.items()}
    try:
        with ExitStack() as locks:
            for database in databases.values():
                locks.enter_context(database_identity.lock(database.url))
            for service, database in databases.items():
                await _reset_one(service, database)
    finally:
        for database in databases.values():
            await database.close()


async def _reset_one(service: str, database: Database) -> None:
    await database.run(partial(database_identity.claim_current, service=service))
    await database.run(partial(_forget, service=service))


def _forget(connection: Connection, service: str) -> None:
    signing_keys.forget(connection)
    links.forget(connection)
    if service == "order":
        private_keys.delete_all(connection)
        sessions.end_all(connection)
