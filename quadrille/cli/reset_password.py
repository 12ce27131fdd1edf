"""`quadrille reset-password`: writes a new password for an account to the order service's database file."""

import asyncio
import secrets
from functools import partial

import click
from sqlalchemy import Connection

from order_service.accounts import store
from order_service.accounts.domain import ChangePassword
from order_service.accounts.emails import canonical
from order_service.accounts.passwords import Passwords
from order_service.accounts.service import replace_password
from order_service.domain import Command, OrderState
from quadrille.cli.params import json_option
from quadrille.endpoints import load_settings
from quadrille.output import echo, echo_json
from quadrille.recovery.service_rules import logic_of
from shared.chassis.engine.unit_of_work import CommandEnvelope, process_batch
from shared.chassis.errors import FatalError
from shared.chassis.messages import actor
from shared.chassis.storage import database_identity
from shared.chassis.storage.database import database_url, open_for_writing
from shared.settings import ShopSettings

PASSWORD_BYTES = 12


@click.command("reset-password")
@click.argument("email")
@json_option
def reset_password(email: str, *, as_json: bool) -> None:
    """For an account whose password is lost: as `quadrille admin password --offline EMAIL`."""
    password = new_password(load_settings(), email)
    if as_json:
        echo_json({"email": email, "password": password})
    else:
        echo(
            f"The new password of {email} is {password} (printed only now); all sessions have ended"
        )


def new_password(settings: ShopSettings, email: str) -> str:
    """Give the account another password, while the order service is stopped. Raises ClickException."""
    try:
        return asyncio.run(_reset(settings, canonical(email)))
    except (FatalError, ValueError) as error:
        raise click.ClickException(str(error)) from error


async def _reset(settings: ShopSettings, email: str) -> str:
    """Raises ClickException for an unknown account, FatalError."""
    database = open_for_writing(database_url("order", settings))
    file = database.url.database
    if not (settings.database_url or (settings.data_dir / "order.db").exists()):
        raise click.ClickException(f"{file} does not exist: set QUADRILLE_DATA_DIR")
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with database_identity.lock(database.url):
        try:
            await database.run(partial(database_identity.claim_current, service="order"))
            password_hash = await Passwords().replace(password)
            write = partial(_write, settings=settings, email=email, password_hash=password_hash)
            has_account = await database.run(write)
        finally:
            await database.close()
    if not has_account:
        raise click.ClickException(f"no account has the address {email}")
    return password


def _write(connection: Connection, settings: ShopSettings, email: str, password_hash: str) -> bool:
    """As the service would do it: the events are published at its next start. False if there is no such account."""
    customer = store.find_by_email(connection, email)
    if customer is None:
        return False
    envelope: CommandEnvelope[OrderState, Command] = CommandEnvelope(
        ChangePassword(user_id=customer.user_id, token_version=customer.token_version),
        actor=actor.SERVICE,
        extra_writes=partial(replace_password, user_id=customer.user_id, new_hash=password_hash),
    )
    logic = logic_of("order", settings)
    process_batch(connection, (), (envelope,), source="order", logic=logic)
    return True
