"""Signing keys rotated and revoked in the whole shop, while somebody follows its events."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import jwt
import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.running_shop import ADMIN_PASSWORD, Fleet
from tests.support.terminal import SECONDS, Terminal

ADMIN = "admin@example.com"
ADMIN_ONLY = {
    "order": "/auth/keys",
    "inventory": "/reservations/none",
    "shipping": "/carriers/simulated",
    "notifier": "/notifications",
    "read": "/customers",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("shop"), carrier_success_rate=1) as fleet:
        await fleet.start()
        await fleet.stock_up(plenty=100)
        yield fleet


@pytest.fixture
def admin(shop: Fleet, tmp_path: Path) -> Terminal:
    terminal = Terminal(shop, tmp_path)
    terminal.sign_in(ADMIN, ADMIN_PASSWORD)
    return terminal


def new_token(shop: Fleet) -> str:
    account = {"email": ADMIN, "password": ADMIN_PASSWORD}
    response = httpx.post(shop.url("order", "/auth/login"), json=account)
    token: str = response.json()["accessToken"]
    return token


def key_of(token: str) -> str:
    key_id: str = jwt.get_unverified_header(token)["kid"]
    return key_id


def answers(shop: Fleet, token: str) -> set[bool]:
    """Whether the services accept the token, for each that does and does not."""
    headers = {"Authorization": f"Bearer {token}"}
    found = [
        httpx.get(shop.url(name, path), headers=headers).status_code
        for name, path in ADMIN_ONLY.items()
    ]
    assert set(found) <= {200, 401, 404}
    return {status != 401 for status in found}


def statuses(admin: Terminal) -> dict[str, str]:
    code, out, err = admin.run("keys", "--json")
    assert code == 0, err
    return {key["keyId"]: key["status"] for key in json.loads(out)["items"]}


async def test_key_is_rotated_and_revoked_everywhere(shop: Fleet, admin: Terminal):
    old = new_token(shop)
    following = admin.start("events", "--follow", "--type", "OrderCreated", "--json")
    await before_stream_opens(shop, following)

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

    order_id = shop.order(("plenty", 1))["orderId"]
    line = await asyncio.to_thread(following.stdout.readline)
    assert json.loads(line)["key"] == order_id
    following.send_signal(2)
    rest, _ = following.communicate(timeout=SECONDS)
    assert rest == ""
    await shop.sign_in()
    await shop.settle()


async def before_stream_opens(shop: Fleet, following: subprocess.Popen[str]) -> None:
    """Wait until the command shows an order that is placed now."""
    order_id = shop.order(("plenty", 1))["orderId"]
    line = await asyncio.to_thread(following.stdout.readline)
    assert json.loads(line)["key"] == order_id


async def test_revoking_an_unknown_key_is_an_error(admin: Terminal):
    code, _, err = admin.run("keys", "revoke", "none")
    assert (code, err) == (2, "Error: there is no signing key none\n")
