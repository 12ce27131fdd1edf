"""Signing keys are rotated and revoked in all services, while a client follows the events."""

import asyncio
import json
import subprocess
from pathlib import Path

import jwt
import pytest

from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_client import ShopClient
from tests.support.shop_expectations import ADMIN_EMAIL, ADMIN_PASSWORD
from tests.support.terminal import SECONDS, Terminal

ADMIN_ONLY = {
    "order": "/auth/keys",
    "inventory": "/reservations/none",
    "shipping": "/carriers/simulated",
    "notifier": "/notifications",
    "read": "/customers",
}


@pytest.fixture
def admin(shop: RunningShop, tmp_path: Path) -> Terminal:
    terminal = Terminal(shop, tmp_path)
    terminal.sign_in(ADMIN_EMAIL, ADMIN_PASSWORD)
    return terminal


def new_token(shop: RunningShop) -> str:
    token: str = shop.guest.login(ADMIN_EMAIL, ADMIN_PASSWORD)["accessToken"]
    return token


def key_of(token: str) -> str:
    key_id: str = jwt.get_unverified_header(token)["kid"]
    return key_id


def answers(shop: RunningShop, token: str) -> set[bool]:
    """Whether the services accept the token, for each that does and does not."""
    with ShopClient(shop.url, token) as client:
        statuses = {client.get(name, path).status_code for name, path in ADMIN_ONLY.items()}
    assert statuses <= {200, 401, 404}
    return {status != 401 for status in statuses}


def statuses(admin: Terminal) -> dict[str, str]:
    code, out, err = admin.run("keys", "--json")
    assert code == 0, err
    return {key["keyId"]: key["status"] for key in json.loads(out)["items"]}


async def test_key_is_rotated_and_revoked_everywhere(shop: RunningShop, admin: Terminal):
    old = new_token(shop)
    following = admin.start("events", "--follow", "--type", "OrderCreated", "--json")
    await until_stream_is_open(shop, following)

    code, out, err = admin.run("keys", "rotate", "--json")
    assert code == 0, err
    next_key = json.loads(out)["keyId"]
    assert answers(shop, old) == {True}
    assert set(statuses(admin)) == {key_of(old), next_key}

    code, out, err = admin.run("keys", "revoke", key_of(old))
    assert code == 0, err
    assert "REVOKED" in out
    await eventually(lambda: answers(shop, old) == {False})
    new = new_token(shop)
    assert key_of(new) == next_key
    assert answers(shop, new) == {True}
    assert statuses(admin) == {key_of(old): "REVOKED", next_key: "CURRENT"}

    order_id = shop.guest.order(("plenty", 1))["orderId"]
    line = await asyncio.to_thread(following.stdout.readline)
    assert json.loads(line)["key"] == order_id
    following.send_signal(2)
    rest, _ = following.communicate(timeout=SECONDS)
    assert rest == ""
    await shop.sign_in()
    await shop.settle()


async def until_stream_is_open(shop: RunningShop, following: subprocess.Popen[str]) -> None:
    """Wait until the command prints an order that is placed now."""
    order_id = shop.guest.order(("plenty", 1))["orderId"]
    while json.loads(await asyncio.to_thread(following.stdout.readline))["key"] != order_id:
        pass


async def test_revoking_an_unknown_key_is_an_error(admin: Terminal):
    code, _, err = admin.run("keys", "revoke", "none")
    assert (code, err) == (1, "Error: there is no signing key none\n")
