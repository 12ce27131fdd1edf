"""The README's curl lines, with other ports, give the README's answers."""

import asyncio
import json
import re
from functools import partial
from pathlib import Path

import httpx
import pytest

from quadrille.launcher.sample_catalogue import find_in_stock, is_on_sale, load_samples
from shared.settings import ShopSettings
from tests.support.curl import shell_environment
from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json

README = (Path(__file__).parents[2] / "README.md").read_text()
CURLS = re.findall(r"```sh\n(curl .*?)```", README, re.DOTALL)
DEFAULT = ShopSettings()
PORTS = {DEFAULT.order_port: "order", DEFAULT.read_api_port: "read"}


@pytest.fixture
async def samples(shop: RunningShop) -> None:
    """The sample catalogue beside the products of the other tests."""
    async with httpx.AsyncClient() as http:
        await load_samples(http, shop.url("inventory"), shop.admin.token)
        await eventually(lambda: is_on_sale(http, shop.url("order")))


@pytest.mark.usefixtures("samples")
async def test_readme_commands_order_show_and_reject(shop: RunningShop, tmp_path: Path):
    order, show, too_many, *_ = CURLS
    paste = partial(run, shop, shell_environment(tmp_path / "bin"))

    placed = await paste(order)
    assert (placed["status"], placed["totalAmount"]) == ("PENDING", 10_000)
    assert placed["items"][0]["name"] == "Super Keyboard"
    await shop.until(placed["orderId"], "COMPLETED")

    assert [await sample_with(shop, units) for units in (8, 9, 11)] == ["prod001", "keyboard", None]

    [id_in_readme] = re.findall(r"[0-9a-f-]{36}", show)
    completed = await paste(show.replace(id_in_readme, placed["orderId"]))
    assert completed["status"] == "COMPLETED"
    assert completed["shipment"]["trackingNumber"] == completed["trackingNumber"]

    placed = await paste(too_many)
    cancelled = await shop.until(placed["orderId"], "CANCELLED_NO_STOCK")
    [short] = cancelled["failedItems"]
    assert short == {"productId": "prod001", "requestedQuantity": 20, "availableQuantity": 8}
    assert json.dumps(short, separators=(",", ":")) in README


async def sample_with(shop: RunningShop, units: int) -> str | None:
    """As the launcher chooses the product of the order that it prints."""
    async with httpx.AsyncClient() as http:
        return await find_in_stock(http, shop.url("inventory"), units)


async def run(shop: RunningShop, environment: dict[str, str], line: str) -> Json:
    """The output of a curl line sent to this shop."""
    for port, service in PORTS.items():
        line = line.replace(f"localhost:{port}", shop.url(service).removeprefix("http://"))
    shell = await asyncio.create_subprocess_shell(
        line, env=environment, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await shell.communicate()
    document: Json = json.loads(printed)
    return document
