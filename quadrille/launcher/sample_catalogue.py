"""The sample catalogue, loaded into the inventory over HTTP like any other product."""

import asyncio
import time
from typing import Any, NamedTuple

import click
import httpx
import msgspec

from shared.chassis.settings import SettingsError
from shared.settings import ShopSettings, load

REQUEST_TIMEOUT_SECONDS = 5
RETRY_SECONDS = 1
TIMEOUT_SECONDS = 60
NOT_ALLOWED = (401, 403)
ALREADY_EXISTS = "urn:quadrille:problem:product-exists"
UNKNOWN = "urn:quadrille:problem:unknown-product"


class CatalogueError(Exception):
    """The inventory rejects the catalogue; the message is its reason."""


class NotAllowed(CatalogueError):
    """Only the admin may create products: the sign-in failed, or the inventory does not accept its token yet."""


class Sample(NamedTuple):
    """A product with its first stock; price in yen."""

    product_id: str
    name: str
    description: str
    category: str
    price: int
    stock: int


ADDRESS = {
    "name": "Aiko Yamada",
    "lines": ["1-2-3 Shibuya"],
    "postcode": "150-0002",
    "city": "Tokyo",
    "country": "JP",
}
SAMPLES = (
    Sample("prod001", "Super Keyboard", "Every key at its best.", "keyboards", 5_000, 10),
    Sample("prod002", "Ergonomic Mouse", "Follows the hand.", "mice", 3_000, 5),
    Sample("prod003", "4K Monitor", "Eight million pixels.", "monitors", 45_000, 3),
    Sample("keyboard", "Keyboard", "Mechanical, hot-swappable.", "keyboards", 15_000, 10),
    Sample("mouse", "Mouse", "Wireless, a month on one charge.", "mice", 8_000, 5),
    Sample("monitor", "Monitor", "27 inches, height-adjustable.", "monitors", 45_000, 3),
    Sample("headset", "Headset", "Keeps the office out.", "audio", 12_000, 7),
)


async def sign_in(http: httpx.AsyncClient, orders: str, email: str, password: str) -> str:
    """The admin's access token. Raises NotAllowed, or httpx.TransportError."""
    account = {"email": email, "password": password}
    response = await http.post(f"{orders}/auth/login", json=account)
    if response.is_error:
        raise NotAllowed(f"{email} cannot sign in: {_detail(response)}")
    token: str = response.json()["accessToken"]
    return token


async def load_samples(http: httpx.AsyncClient, inventory: str, token: str | None = None) -> int:
    """Create the samples that never existed, and return their number; a deleted one stays deleted.

    Raises CatalogueError, or httpx.TransportError.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return sum([await _create(http, inventory, headers, sample) for sample in SAMPLES])


async def _create(
    http: httpx.AsyncClient, inventory: str, headers: dict[str, str], sample: Sample
) -> bool:
    product = {
        "productId": sample.product_id,
        "name": sample.name,
        "description": sample.description,
        "category": sample.category,
        "price": sample.price,
        "stock": sample.stock,
    }
    response = await http.post(f"{inventory}/products", json=product, headers=headers)
    if response.is_success:
        return True
    if _problem(response) == ALREADY_EXISTS:
        return False
    error = NotAllowed if response.status_code in NOT_ALLOWED else CatalogueError
    raise error(f"the inventory rejects {sample.product_id}: {_detail(response)}")


async def is_on_sale(http: httpx.AsyncClient, orders: str) -> bool:
    """Whether the order service has received the last sample; before that it rejects orders for it.

    Orders it at a wrong price, which is rejected in any case: the reason is the answer.
    """
    wrong_price = SAMPLES[-1].price + 1
    item = {"productId": SAMPLES[-1].product_id, "quantity": 1, "price": wrong_price}
    response = await http.post(
        f"{orders}/orders", json={"items": [item], "shippingAddress": ADDRESS}
    )
    return _problem(response) != UNKNOWN


async def find_in_stock(http: httpx.AsyncClient, inventory: str, units: int) -> str | None:
    """The first sample with so much stock; None if there is none. Raises httpx.TransportError."""
    for sample in SAMPLES:
        response = await http.get(f"{inventory}/products/{sample.product_id}")
        if _document(response).get("available", 0) >= units:
            return sample.product_id
    return None


def _problem(response: httpx.Response) -> object:
    return _document(response).get("type")


def _detail(response: httpx.Response) -> object:
    return _document(response).get("detail", f"status {response.status_code}")


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        return msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


@click.command()
@click.option("--inventory", help="Where the inventory service is.  [default: from the settings]")
@click.option("--orders", help="Where the admin signs in.  [default: from the settings]")
def main(inventory: str | None, orders: str | None) -> None:
    """Load the sample catalogue into a shop, waiting up to a minute for it to answer.

    Signs in with QUADRILLE_ADMIN_EMAIL and QUADRILLE_ADMIN_PASSWORD if that is set.
    """
    try:
        settings = load()
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    inventory = inventory or f"http://{settings.host}:{settings.inventory_port}"
    orders = orders or f"http://{settings.host}:{settings.order_port}"
    created = asyncio.run(_load_with_retries(settings, inventory, orders))
    click.echo(f"{created} of {len(SAMPLES)} products are new")


async def _load_with_retries(settings: ShopSettings, inventory: str, orders: str) -> int:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_SECONDS, trust_env=False) as http:
        while True:
            try:
                token = None
                if password := settings.admin_password:
                    token = await sign_in(http, orders, settings.admin_email, password)
                return await load_samples(http, inventory, token)
            except (CatalogueError, httpx.TransportError) as error:
                if time.monotonic() > deadline:
                    raise click.ClickException(f"the catalogue is not loaded: {error}") from error
            await asyncio.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    main()
