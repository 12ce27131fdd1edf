"""`quadrille reset-password` on the database file of an order service."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from quadrille.cli.main import main
from shared.chassis.storage.database import database_url, open_for_reading
from shared.settings import ShopSettings
from tests.support.chassis import log_of
from tests.support.order_client import PASSWORD, open_order_service
from tests.support.settings import environment_of

EMAIL = "jane@example.com"


async def quadrille(settings: ShopSettings, *arguments: str) -> Result:
    """In another thread, because the command starts its own event loop."""
    environment = environment_of(settings)
    return await asyncio.to_thread(CliRunner().invoke, main, arguments, env=environment)


async def run(settings: ShopSettings, *arguments: str) -> Result:
    return await quadrille(settings, "reset-password", *arguments)


async def test_reset_password_replaces_it_and_ends_sessions(shop_settings: ShopSettings):
    async with open_order_service(shop_settings) as client:
        await client.register(EMAIL)
        tokens = await client.sign_in(EMAIL)
    result = await run(shop_settings, EMAIL.upper())
    assert result.exit_code == 0, result.output
    password = result.output.split(" is ")[1].split()[0]
    async with open_order_service(shop_settings) as client:
        assert (await client.login(EMAIL, PASSWORD)).status_code == 401
        assert (await client.refresh(tokens["refreshToken"])).status_code == 401
        ended = await client.ask("GET", "/auth/me", token=tokens["accessToken"])
        assert ended.status_code == 401
        token = (await client.sign_in(EMAIL, password))["accessToken"]
        assert (await client.ask("GET", "/auth/me", token=token)).status_code == 200
    assert (await event_types(shop_settings))[-3:] == [
        "CustomerPasswordChanged",
        "TokensRevoked",
        "SigningKeyPublished",
    ]


async def event_types(settings: ShopSettings) -> list[str]:
    database = open_for_reading(database_url("order", settings))
    log = await log_of(database, "order")
    await database.close()
    return [recorded.event_type for recorded in log]


async def test_admin_password_is_reset_offline(shop_settings: ShopSettings):
    async with open_order_service(shop_settings):
        pass
    result = await quadrille(shop_settings, "admin", "password", "--offline", "--json")
    assert result.exit_code == 0, result.output
    account = msgspec.json.decode(result.stdout)
    assert account["email"] == shop_settings.admin_email
    async with open_order_service(shop_settings) as client:
        await client.sign_in(**account)


async def test_reset_password_of_running_service_is_refused(shop_settings: ShopSettings):
    async with open_order_service(shop_settings):
        result = await run(shop_settings, EMAIL)
    assert result.exit_code == 1
    assert "another process uses" in result.output


@pytest.mark.parametrize(
    ("email", "sentence"),
    [("nobody@example.com", "no account has the address"), ("nobody", "not an e-mail address")],
)
async def test_reset_password_of_unknown_account_is_refused(
    shop_settings: ShopSettings, email: str, sentence: str
):
    async with open_order_service(shop_settings):
        pass
    result = await run(shop_settings, email)
    assert result.exit_code == 1
    assert sentence in result.output


async def test_reset_password_without_database_creates_none(
    shop_settings: ShopSettings, tmp_path: Path
):
    result = await run(shop_settings, EMAIL)
    assert result.exit_code == 1
    assert "does not exist" in result.output
    assert not list(tmp_path.glob("order.db*"))  # noqa: ASYNC240 - nothing else runs in this loop
