"""The README's commands, with other ports, give the README's answers."""

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

README = (Path(__file__).parents[2] / "README.md").read_text()
ORDERS = re.findall(r"^ID=\$\(.*?\n.*?\n.*?\)$", README, re.MULTILINE)
"""Each places an order and keeps its id."""
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
    delivered, too_many = ORDERS
    paste = partial(run, shop, shell_environment(tmp_path / "bin"))

    completed = await shop.until(await paste(delivered), "COMPLETED")
    assert completed["totalAmount"] == 10_000
    assert completed["items"][0]["name"] == "Super Keyboard"
    assert completed["shipment"]["trackingNumber"] == completed["trackingNumber"]

    assert [await sample_with(shop, units) for units in (8, 9, 11)] == ["prod001", "keyboard", None]

    cancelled = await shop.until(await paste(too_many), "CANCELLED_NO_STOCK")
    [short] = cancelled["failedItems"]
    assert short == {"productId": "prod001", "requestedQuantity": 20, "availableQuantity": 8}
    assert json.dumps(short, separators=(",", ":")) in README


async def sample_with(shop: RunningShop, units: int) -> str | None:
    """As the launcher chooses the product of the order that it prints."""
    async with httpx.AsyncClient() as http:
        return await find_in_stock(http, shop.url("inventory"), units)


async def run(shop: RunningShop, environment: dict[str, str], command: str) -> str:
    """The id of the order that a command of the README places in this shop."""
    for port, service in PORTS.items():
        command = command.replace(f"localhost:{port}", shop.url(service).removeprefix("http://"))
    shell = await asyncio.create_subprocess_shell(
        f"{command}; echo $ID", env=environment, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await shell.communicate()
    return printed.decode().strip()
