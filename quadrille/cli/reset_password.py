"""`quadrille reset-password`: writes a new password for an account to the order service's database file."""

import asyncio
import secrets
from functools import partial

import click
from sqlalchemy import Connection

from order_service.accounts import credentials, sessions, store
from order_service.accounts.emails import canonical
from order_service.accounts.passwords import Passwords
from quadrille.endpoints import load_settings
from quadrille.output import echo
from shared.chassis.errors import FatalError
from shared.chassis.storage import database_identity
from shared.chassis.storage.database import database_url, open_for_writing
from shared.settings import ShopSettings

PASSWORD_BYTES = 12


@click.command("reset-password")
@click.argument("email")
def reset_password(email: str) -> None:
    """For an admin who has lost the password: changes the order service's database file. Stop that service first."""
    try:
        password = asyncio.run(_reset(load_settings(), canonical(email)))
    except (FatalError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    echo(f"The new password of {email} is {password} (printed only now); all sessions have ended")


async def _reset(settings: ShopSettings, email: str) -> str:
    """Returns the new password. Raises ClickException for an unknown account, FatalError."""
    database = open_for_writing(database_url("order", settings))
    file = database.url.database
    if not (settings.database_url or (settings.data_dir / "order.db").exists()):
        raise click.ClickException(f"{file} does not exist: set QUADRILLE_DATA_DIR")
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with database_identity.lock(database.url):
        try:
            await database.run(partial(database_identity.claim_current, service="order"))
            password_hash = await Passwords().replace(password)
            write = partial(_write, email=email, password_hash=password_hash)
            has_account = await database.run(write)
        finally:
            await database.close()
    if not has_account:
        raise click.ClickException(f"no account has the address {email}")
    return password


def _write(connection: Connection, email: str, password_hash: str) -> bool:
    """False if there is no such account."""
    customer = store.find_by_email(connection, email)
    if customer is None:
        return False
    credentials.set_password(connection, customer.user_id, password_hash)
    sessions.end_all_of(connection, customer.user_id)
    return True
