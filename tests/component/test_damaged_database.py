"""A damaged database file: no event becomes a dead letter, and the process ends with one sentence."""

import asyncio
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from inventory_service.domain import CreateProduct, Description
from inventory_service.store import PRODUCTS, RESERVATIONS
from read_api.tables import ORDERS
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.errors import REFUSED
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import DatabaseDamaged
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.chassis.storage.inbox import INBOX
from shared.contracts import OrderCreated, OrderItem
from shared.settings import ShopSettings
from tests.support.chassis import publishing, rows_of, serving, writing
from tests.support.damage import damage
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.read_api_process import projecting
from tests.support.settings import environment_of

KEYBOARD = CreateProduct(
    product_id="p1", description=Description(name="Keyboard", description="", price=1), stock=100
)


def ordered(number: int) -> RecordedEvent:
    item = OrderItem(product_id="p1", quantity=1, price=1)
    return recorded(
        OrderCreated(
            order_id=f"o{number}", user_id="u", items=(item,), total_amount=1, currency="JPY"
        ),
        position=number + 1,
    )


async def inventory_with_a_product(path: Path) -> Path:
    """The inventory's database, with a backup beside it."""
    async with writing(path) as chassis:
        await chassis.execute(KEYBOARD)
    return Path(shutil.copy(path, path.with_suffix(".backup")))


@pytest.mark.parametrize("table", ["products", "event_log", "inbox"])
async def test_events_survive_a_damaged_database(tmp_path: Path, table: str):
    path = tmp_path / "inventory.db"
    backup = await inventory_with_a_product(path)
    damage(path, table)
    orders = [ordered(number) for number in range(20)]
    async with writing(path) as chassis:
        outcomes = await asyncio.gather(
            chassis.handle(*orders), chassis.execute(KEYBOARD), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {StorageUnavailable}
        assert await chassis.rows(DEAD_LETTER) == []
        if table != "inbox":
            assert await chassis.rows(INBOX) == []
        assert await chassis.rows(RESERVATIONS) == []
    shutil.copy(backup, path)
    async with writing(path) as chassis:
        await chassis.handle(*orders)
        assert len(await chassis.rows(RESERVATIONS)) == 20


async def test_damaged_file_is_named_with_remedy(tmp_path: Path):
    path = tmp_path / "inventory.db"
    await inventory_with_a_product(path)
    damage(path, "products")
    async with writing(path) as chassis:
        with pytest.raises(DatabaseDamaged) as caught:
            await chassis.rows(PRODUCTS)
        assert str(caught.value) == (
            f"the database {path} is damaged (database disk image is malformed): "
            "restore it with quadrille restore, or delete it if it is the read API's"
        )
        with pytest.raises(DatabaseDamaged):
            await chassis.reads.watch()


async def test_damaged_read_database_parks_no_event(tmp_path: Path):
    path = tmp_path / "read.db"
    async with projecting(path) as projection:
        await projection.projector.deliver([ordered(0)])
    damage(path, ORDERS.name)
    async with projecting(path) as projection:
        with pytest.raises(StorageUnavailable):
            await projection.projector.deliver([ordered(1)])
        assert await projection.letters() == []
        with pytest.raises(DatabaseDamaged):
            await projection.database.watch()


@contextmanager
def inventory_process(settings: ShopSettings):
    process = subprocess.Popen(
        [sys.executable, "-m", "inventory_service"],
        env=environment_of(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    out, err = await asyncio.to_thread(process.communicate, timeout=30)
    return process.returncode, out, err


def assert_names_the_damage(path: Path, code: int, out: str, err: str) -> None:
    assert code == REFUSED
    last_line = out.splitlines()[-1]
    assert "critical" in last_line
    sentence = f"the database {path} is damaged (database disk image is malformed): restore it"
    assert sentence in last_line
    assert "Traceback" not in out + err


async def is_reserved(service, number: int) -> bool:
    return len(await rows_of(service.reads, RESERVATIONS)) == number


async def test_damaged_database_ends_process_with_one_sentence(shop_settings: ShopSettings):
    path = shop_settings.data_dir / "inventory.db"
    async with serving(shop_settings) as service:
        await service.writer.execute(CommandEnvelope(KEYBOARD))
        await eventually(lambda: service.waiting_for() == [])
    backup = shutil.copy(path, path.with_suffix(".backup"))
    damage(path, "products")
    with inventory_process(shop_settings) as process:
        url = f"http://127.0.0.1:{shop_settings.inventory_port}"
        async with httpx.AsyncClient(base_url=url) as http:
            await eventually(lambda: is_live(http), within_seconds=30)
            response = await http.get("/products")
        assert response.status_code == 503
        assert response.json()["type"] == "urn:quadrille:problem:storage-unavailable"
        assert "damaged" not in response.text
        assert_names_the_damage(path, *await ended(process))
    async with publishing(shop_settings) as other:
        await other.publish([ordered(number) for number in range(20)])
    with inventory_process(shop_settings) as process:
        assert_names_the_damage(path, *await ended(process))
    shutil.copy(backup, path)
    async with serving(shop_settings) as service:
        await eventually(lambda: is_reserved(service, 20))
        assert await rows_of(service.reads, DEAD_LETTER) == []


async def is_live(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health/live")).is_success
    except httpx.TransportError:
        return False


async def test_file_that_is_no_database_is_reported(shop_settings: ShopSettings):
    path = shop_settings.data_dir / "inventory.db"
    path.write_bytes(b"This is no database, however long one looks at it. " * 100)
    with inventory_process(shop_settings) as process:
        code, _, err = await ended(process)
    assert code == REFUSED
    assert err.endswith(
        f"the database {path} is damaged (file is not a database): "
        "restore it with quadrille restore, or delete it if it is the read API's\n"
    )
    assert err.count("\n") == 1
