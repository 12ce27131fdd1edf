"""The sample catalogue, put into the inventory over HTTP like any other product."""

import sys
import time
from typing import Any, NamedTuple

import httpx

from shared.config import SettingsError, load

ATTEMPT_SECONDS = 5
PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 60
ALREADY_THERE = "urn:quadrille:problem:product-exists"
UNKNOWN = "urn:quadrille:problem:unknown-product"


class CatalogueError(Exception):
    """The inventory does not take the catalogue; the message says what it answered."""


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


def load_samples(inventory: httpx.URL | str) -> int:
    """Create the samples that were never there, and return how many; a deleted one stays deleted.

    Raises CatalogueError, or httpx.TransportError while the service can not be reached.
    """
    with httpx.Client(base_url=inventory, timeout=ATTEMPT_SECONDS, trust_env=False) as http:
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
    raise CatalogueError(
        f"the inventory refuses {sample.product_id}: {response.status_code} {response.text}"
    )


def is_on_sale(orders: httpx.URL | str) -> bool:
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
    try:
        document: Any = response.json()
        return document["type"]
    except (ValueError, KeyError, TypeError):
        return None


def main() -> None:
    """`python -m quadrille.catalogue`: load the samples, waiting a minute for the inventory to answer."""
    try:
        settings = load()
    except SettingsError as error:
        sys.exit(f"catalogue: {error}")
    inventory = f"http://{settings.host}:{settings.inventory_port}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            created = load_samples(inventory)
        except CatalogueError as error:
            sys.exit(f"catalogue: {error}")
        except httpx.TransportError as error:
            if time.monotonic() > deadline:
                sys.exit(f"catalogue: no inventory service at {inventory}: {error}")
            time.sleep(PAUSE_SECONDS)
        else:
            print(f"catalogue: {created} of {len(SAMPLES)} products are new")
            return


if __name__ == "__main__":
    main()
