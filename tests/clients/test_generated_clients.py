"""Clients generated from the OpenAPI documents: without a warning, and able to place an order.

The generators are downloaded, so only `make clients` runs these tests. They are no development packages: Litestar would
import pydantic, which one of them needs, into every service.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.addresses import ADDRESS_BODY
from tests.support.running_shop import RunningShop
from tools.openapi_documents import PACKAGES, build_applications, document_of

PYTHON_GENERATOR = "openapi-python-client==0.29.1"
TYPESCRIPT_GENERATOR = ("openapi-typescript@7.13.0", "typescript@5.9.3")

every_service = pytest.mark.parametrize("service", PACKAGES)

PLACE_ORDER = """
import json, sys
from order_client import Client
from order_client.api.orders import place_order, show_order
from order_client.models import NewOrder, OrderView

client = Client(base_url=sys.argv[1])
placed = place_order.sync(client=client, body=NewOrder.from_dict(json.loads(sys.argv[2])))
assert isinstance(placed, OrderView), placed
print(show_order.sync(placed.order_id, client=client).order_id)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the document of each service."""
    directory = tmp_path_factory.mktemp("clients")
    for service, app in build_applications().items():
        (directory / f"{service}.json").write_text(json.dumps(document_of(app)))
    return directory


@pytest.fixture(scope="module")
def python(directory: Path) -> Path:
    """The interpreter of an environment with the generator."""
    run(sys.executable, "-m", "venv", directory / "venv")
    python = directory / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", PYTHON_GENERATOR)
    (directory / "config.yml").write_text("post_hooks: []")
    return python


@pytest.fixture(scope="module")
def npm(directory: Path) -> Path:
    """A directory with the generator and the compiler."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    run("npm", "install", "--prefix", directory, "--no-audit", "--no-fund", *TYPESCRIPT_GENERATOR)
    return directory / "node_modules" / ".bin"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningShop]:
    with RunningShop(tmp_path_factory.mktemp("shop")) as shop:
        await shop.start()
        await shop.stock_up(plenty=10)
        yield shop


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def generate(python: Path, directory: Path, service: str) -> str:
    """Write the package `<service>_client`; what the generator prints."""
    generator = python.with_name("openapi-python-client")
    source, target = directory / f"{service}.json", directory / f"{service}_client"
    config = directory / "config.yml"
    options = ("--meta", "none", "--fail-on-warning", "--overwrite", "--config", config)
    return run(generator, "generate", "--path", source, "--output-path", target, *options)


@every_service
def test_python_client_is_generated_without_warning(python: Path, directory: Path, service: str):
    printed = generate(python, directory, service)
    assert "warning" not in printed.lower()
    run(python, "-m", "compileall", "-q", directory / f"{service}_client")


async def test_python_client_places_an_order(shop: RunningShop, python: Path, directory: Path):
    generate(python, directory, "order")
    order = {
        "items": [{"productId": "plenty", "quantity": 2}],
        "email": "aiko@example.com",
        "shippingAddress": ADDRESS_BODY,
    }
    (directory / "place_order.py").write_text(PLACE_ORDER)
    printed = run(python, directory / "place_order.py", shop.url("order"), json.dumps(order))
    await shop.until(printed.strip(), "COMPLETED")


@every_service
def test_typescript_client_compiles_without_warning(npm: Path, directory: Path, service: str):
    types = directory / f"{service}.ts"
    printed = run(npm / "openapi-typescript", directory / f"{service}.json", "--output", types)
    assert "⚠" not in printed
    assert "warn" not in printed.lower()
    run(npm / "tsc", "--noEmit", "--strict", types)
