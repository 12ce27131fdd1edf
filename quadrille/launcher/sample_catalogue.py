"""The sample catalogue, put into the inventory over HTTP like any other product."""

import time
from typing import Any, NamedTuple

import click
import httpx

from shared.settings import SettingsError, load

ATTEMPT_SECONDS = 5
PAUSE_SECONDS = 1
TIMEOUT_SECONDS = 60
NOT_ALLOWED = (401, 403)
ALREADY_THERE = "urn:quadrille:problem:product-exists"
UNKNOWN = "urn:quadrille:problem:unknown-product"


class CatalogueError(Exception):
    """The inventory does not take the catalogue; the message says what it answered."""


class NotAllowed(CatalogueError):
    """Only the admin may fill the shelves, and we are not known as him, or not yet."""


class Sample(NamedTuple):
    """A product as it first enters the shop; price in yen."""

    product_id: str
    name: str
    description: str
    category: str
    price: int
    stock: int


SAMPLES = (
    Sample("prod001", "Super Keyboard", "Every key at its best.", "keyboards", 5_000, 10),
    Sample("prod002", "Ergonomic Mouse", "Follows the hand.", "mice", 3_000, 5),
    Sample("prod003", "4K Monitor", "Eight million pixels.", "monitors", 45_000, 3),
    Sample("keyboard", "Keyboard", "Mechanical, hot-swappable.", "keyboards", 15_000, 10),
    Sample("mouse", "Mouse", "Wireless, a month on one charge.", "mice", 8_000, 5),
    Sample("monitor", "Monitor", "27 inches, height-adjustable.", "monitors", 45_000, 3),
    Sample("headset", "Headset", "Keeps the office out.", "audio", 12_000, 7),
)


def sign_in(orders: str, email: str, password: str) -> str:
    """The admin's access token. Raises NotAllowed, or httpx.TransportError."""
    response = httpx.post(
        f"{orders}/auth/login",
        json={"email": email, "password": password},
        timeout=ATTEMPT_SECONDS,
        trust_env=False,
    )
    if response.is_error:
        raise NotAllowed(f"{email} can not sign in: {_detail(response)}")
    token: str = response.json()["accessToken"]
    return token


def load_samples(inventory: str, token: str | None = None) -> int:
    """Create the samples that were never there, and return how many; a deleted one stays deleted.

    Raises CatalogueError, or httpx.TransportError while the service can not be reached.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(
        base_url=inventory, headers=headers, timeout=ATTEMPT_SECONDS, trust_env=False
    ) as http:
        return sum(_create(http, sample) for sample in SAMPLES)


def _create(http: httpx.Client, sample: Sample) -> bool:
    response = http.post(
        "/products",
        json={
            "productId": sample.product_id,
            "name": sample.name,
            "description": sample.description,
            "category": sample.category,
            "price": sample.price,
            "stock": sample.stock,
        },
    )
    if response.is_success:
        return True
    if _problem(response) == ALREADY_THERE:
        return False
    kind = NotAllowed if response.status_code in NOT_ALLOWED else CatalogueError
    raise kind(f"the inventory refuses {sample.product_id}: {_detail(response)}")


def is_on_sale(orders: str) -> bool:
    """Whether the order service has heard of the last sample; until then it would refuse an order for it.

    Asks with a price that is nobody's: refused in any case, and the refusal tells.
    """
    wrong_price = SAMPLES[-1].price + 1
    item = {"productId": SAMPLES[-1].product_id, "quantity": 1, "price": wrong_price}
    response = httpx.post(
        f"{orders}/orders", json={"items": [item]}, timeout=ATTEMPT_SECONDS, trust_env=False
    )
    return _problem(response) != UNKNOWN


def _problem(response: httpx.Response) -> object:
    return _document(response).get("type")


def _detail(response: httpx.Response) -> object:
    return _document(response).get("detail", f"status {response.status_code}")


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@click.command()
@click.option("--inventory", help="Where the inventory service is.  [default: from the settings]")
@click.option("--orders", help="Where the admin signs in.  [default: from the settings]")
def main(inventory: str | None, orders: str | None) -> None:
    """Put the sample catalogue into a shop, waiting a minute for it to answer.

    Signs in with QUADRILLE_ADMIN_EMAIL and QUADRILLE_ADMIN_PASSWORD where that is set.
    """
    try:
        settings = load()
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    inventory = inventory or f"http://{settings.host}:{settings.inventory_port}"
    orders = orders or f"http://{settings.host}:{settings.order_port}"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            token = None
            if settings.admin_password:
                token = sign_in(orders, settings.admin_email, settings.admin_password)
            created = load_samples(inventory, token)
        except (CatalogueError, httpx.TransportError) as error:
            if time.monotonic() > deadline:
                raise click.ClickException(f"the catalogue is not loaded: {error}") from error
            time.sleep(PAUSE_SECONDS)
        else:
            click.echo(f"{created} of {len(SAMPLES)} products are new")
            return


if __name__ == "__main__":
    main()
