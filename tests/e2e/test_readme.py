"""The README's own curl lines, word by word but for the ports, give the README's own answers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest_asyncio

from quadrille.launcher.sample_catalogue import load_samples
from shared.settings import Settings
from tests.support.eventually import eventually
from tests.support.running_shop import ADMIN_PASSWORD, Fleet

README = (Path(__file__).parents[2] / "README.md").read_text()
CURLS = re.findall(r"```sh\n(curl .*?)```", README, re.DOTALL)
USUAL = Settings()
PORTS = {USUAL.order_port: "order", USUAL.read_api_port: "read"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory) -> AsyncIterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("readme"), carrier_success_rate=1) as fleet:
        await fleet.start()
        account = {"email": USUAL.admin_email, "password": ADMIN_PASSWORD}
        token = fleet.post("order", "/auth/login", account).json()["accessToken"]
        async with httpx.AsyncClient() as http:
            await eventually(lambda: load_samples(http, fleet.url("inventory"), token))
        unpriced = {"items": [{"productId": "headset", "quantity": 1, "price": 1}]}
        await eventually(
            lambda: fleet.post("order", "/orders", unpriced).json()["type"].endswith("changed")
        )
        yield fleet


async def test_the_readmes_lines_order_show_and_refuse(fleet: Fleet):
    order, show, too_many, *_ = CURLS

    placed = await _paste(fleet, order)
    assert (placed["status"], placed["totalAmount"]) == ("PENDING", 10_000)
    assert placed["items"][0]["name"] == "Super Keyboard"
    await fleet.until(placed["orderId"], "COMPLETED")

    [shown_id] = re.findall(r"[0-9a-f-]{36}", show)
    shown = await _paste(fleet, show.replace(shown_id, placed["orderId"]))
    assert shown["status"] == "COMPLETED"
    assert shown["shipment"]["trackingNumber"] == shown["trackingNumber"]

    refused = await _paste(fleet, too_many)
    ended = await fleet.until(refused["orderId"], "CANCELLED_NO_STOCK")
    [short] = ended["failedItems"]
    assert short == {"productId": "prod001", "requestedQuantity": 20, "availableQuantity": 8}
    assert json.dumps(short, separators=(",", ":")) in README


async def _paste(fleet: Fleet, line: str) -> dict:
    for port, service in PORTS.items():
        line = line.replace(f"localhost:{port}", fleet.url(service, "").removeprefix("http://"))
    shell = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
    printed, _ = await shell.communicate()
    return json.loads(printed)
