"""Derived tables are rebuilt while their service runs; a process that dies at any point leaves them as they were."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import psutil
import pytest
import pytest_asyncio
from msgspec.structs import replace
from sqlalchemy import MetaData, make_url
from sqlalchemy.exc import OperationalError

import inventory_service.store
import read_api.tables
from read_api.rebuild import VERSIONS, derived_tables
from shared.chassis.engine.rebuild import DerivedTables, open_complete_tables, swap
from shared.chassis.engine.rebuild_process import Job
from shared.chassis.failpoints import EXIT_CODE
from shared.chassis.storage.database import Database, open_for_writing
from shared.chassis.storage.rebuild_file import BUILT, rebuild_file
from shared.settings import ShopSettings
from tests.support.access import Issuer
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.process import ServiceProcess, service_process
from tests.support.rebuilding import build_beside, open_and_rebuild, rebuild, take_over
from tests.support.sample_history import sample_logs, trust, write_archive, write_log
from tests.support.settings import settings_for

ORDERS = 300
ISSUER = Issuer()
LOGS = sample_logs(ORDERS)
INVENTORY_ROWS = ("products", "reservations", "reservation_items")


class Layout(NamedTuple):
    """Whose database it is, and how it is laid out."""

    service: str
    tables: MetaData
    derived: DerivedTables
    versions: Path | None = None


INVENTORY = Layout(
    "inventory", inventory_service.store.METADATA, inventory_service.store.derived_tables()
)
READ = Layout("read", read_api.tables.METADATA, derived_tables(), VERSIONS)


@contextmanager
def opened(file: Path) -> Iterator[Database]:
    database = open_for_writing(f"sqlite:///{file}")
    yield database
    database._engine.dispose()


async def make_database(file: Path, layout: Layout) -> None:
    """A database with finished orders, whose tables are what its events lead to."""
    with opened(file) as database:
        await open_and_rebuild(database, *layout)
        if layout is READ:
            await write_archive(database, LOGS)
        else:
            await write_log(database, LOGS[layout.service])
        await trust(database, layout.service, ISSUER.published)
        await rebuild(database, layout.derived)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inventory_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rebuild") / "inventory.db"
    await make_database(file, INVENTORY)
    return file


@pytest.fixture
def settings(tmp_path: Path) -> ShopSettings:
    """Without a broker: it is not needed to rebuild."""
    return settings_for(tmp_path, f"nats://127.0.0.1:{free_port()}")


@pytest.fixture
def file(settings: ShopSettings, inventory_file: Path) -> Path:
    """The inventory service's database."""
    return Path(shutil.copy(inventory_file, settings.data_dir))


def execute(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def rows(file: Path, *tables: str) -> list[Any]:
    connection = sqlite3.connect(file)
    all_rows = [
        connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables
    ]
    connection.close()
    return all_rows


def leftover(file: Path) -> Path:
    return rebuild_file(make_url(f"sqlite:///{file}"))


def damage(file: Path) -> None:
    """One row missing, one unexpected, one changed."""
    execute(
        file,
        "DELETE FROM reservation_items WHERE (order_id, line) IN (SELECT order_id, line FROM reservation_items LIMIT 1)",
        """INSERT INTO reservations (order_id, status, created_at, updated_at)
           VALUES ('lost', 'RESERVED', '2026-11-20T09:00:00.000000Z', '2026-11-20T09:00:00.000000Z')""",
        "UPDATE products SET name = 'wrong' WHERE product_id = 'p7'",
    )


def outdate(file: Path) -> None:
    """As if the tables had been made by an earlier release."""
    execute(file, "UPDATE derived_state SET digest = 'that of another definition'")


class Client:
    """Asks the inventory service as an operator."""

    def __init__(self, settings: ShopSettings) -> None:
        self._url = f"http://127.0.0.1:{settings.inventory_port}"
        self._headers = ISSUER.headers("root", "operator")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self._url + path, headers=self._headers, timeout=30)

    def is_live(self) -> bool:
        try:
            return self.get("/health/live").is_success
        except httpx.TransportError:
            return False

    async def until_open(self) -> None:
        await eventually(
            lambda: self.is_live() and self.get("/products").is_success, within_seconds=30
        )

    def start_rebuild(self) -> httpx.Response:
        return httpx.post(f"{self._url}/rebuild", headers=self._headers, timeout=30)

    async def until_ended(self) -> dict[str, Any]:
        """The rebuild, when it has ended."""
        return await eventually(lambda: self.get("/rebuild").json()["last"], within_seconds=30)


Running = tuple[ServiceProcess, Client]


@contextmanager
def inventory(settings: ShopSettings, failpoint: str | None = None) -> Iterator[Running]:
    with service_process("inventory", replace(settings, failpoint=failpoint)) as process:
        yield process, Client(settings)


async def test_rebuild_replaces_and_reports_wrong_rows(settings: ShopSettings, file: Path):
    before = rows(file, *INVENTORY_ROWS)
    damage(file)
    with inventory(settings) as (process, client):
        await client.until_open()
        assert client.start_rebuild().status_code == 202
        assert client.start_rebuild().json()["type"] == "urn:quadrille:problem:rebuild-running"
        rebuild = await client.until_ended()
        assert client.get("/products/p7").json()["name"] == "p7"
        process.stop()
    differences = {
        table["table"]: (table["missing"], table["unexpected"], table["changed"])
        for table in rebuild["tables"]
    }
    assert rebuild["status"] == "COMPLETED"
    assert rebuild["events"] == rebuild["totalEvents"] == len(LOGS["inventory"])
    assert rebuild["differences"] == 3
    assert differences == {
        "products": (0, 0, 1),
        "reservations": (0, 1, 0),
        "reservation_items": (1, 0, 0),
    }
    assert rows(file, *INVENTORY_ROWS) == before
    assert not leftover(file).exists()


async def test_killed_builder_leaves_tables(settings: ShopSettings, file: Path):
    damage(file)
    before = rows(file, *INVENTORY_ROWS)
    with inventory(settings, "after_rebuild_batch") as (process, client):
        await client.until_open()
        client.start_rebuild()
        rebuild = await client.until_ended()
        assert client.get("/products").is_success
        process.stop()
    assert (rebuild["status"], rebuild["tables"]) == ("FAILED", None)
    assert f"ended with {EXIT_CODE}" in rebuild["error"]
    assert rows(file, *INVENTORY_ROWS) == before
    assert not leftover(file).exists()


async def test_service_killed_in_swap_keeps_tables(settings: ShopSettings, file: Path):
    damage(file)
    before = rows(file, *INVENTORY_ROWS)
    with inventory(settings, "in_rebuild_swap") as (process, client):
        await client.until_open()
        client.start_rebuild()
        assert process.ended()[0] == EXIT_CODE
    assert rows(file, *INVENTORY_ROWS) == before
    assert leftover(file).exists()
    with inventory(settings) as (process, client):
        await client.until_open()
        assert not leftover(file).exists()
        process.stop()
    assert rows(file, *INVENTORY_ROWS) == before


async def test_service_killed_after_swap_has_new_tables(settings: ShopSettings, file: Path):
    before = rows(file, *INVENTORY_ROWS)
    damage(file)
    with inventory(settings, "after_rebuild_swap") as (process, client):
        await client.until_open()
        client.start_rebuild()
        assert process.ended()[0] == EXIT_CODE
    assert rows(file, *INVENTORY_ROWS) == before


async def test_builder_dies_with_killed_service(settings: ShopSettings, file: Path):
    with inventory(settings) as (process, client):
        await client.until_open()
        client.start_rebuild()
        builder = await eventually(lambda: next(iter(psutil.Process(process.pid).children()), None))
        builder.suspend()
        os.kill(process.pid, signal.SIGKILL)
        builder.resume()
        process.ended()  # waits for the end of the output, to which the builder writes too
        await eventually(lambda: not psutil.pid_exists(builder.pid))


def test_builder_ends_with_its_input(file: Path, tmp_path: Path):
    locked = sqlite3.connect(file, isolation_level=None)
    locked.execute("PRAGMA journal_mode=DELETE")
    locked.execute("BEGIN EXCLUSIVE")
    state = INVENTORY.derived.state
    job = Job(
        derived="inventory_service.store:derived_tables",
        version=state.version,
        digest=state.digest,
        file=str(tmp_path / "built.db"),
        database=str(file),
        is_comparable=True,
        failpoint=None,
    )
    builder = subprocess.Popen(
        [sys.executable, "-m", "shared.chassis.engine.rebuild_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    output, _ = builder.communicate(msgspec.json.encode(job) + b"\n", timeout=30)
    locked.close()
    assert (builder.returncode, output) == (1, b"")


async def test_full_disk_fails_the_rebuild(settings: ShopSettings, file: Path):
    before = rows(file, *INVENTORY_ROWS)
    with inventory(settings) as (process, client):
        await client.until_open()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
        client.start_rebuild()
        rebuild = await client.until_ended()
        assert not leftover(file).exists()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (-1, -1))
        client.start_rebuild()
        await eventually(lambda: client.get("/rebuild").json()["last"]["status"] == "COMPLETED", 30)
        process.stop()
    assert rebuild["status"] == "FAILED"
    assert "disk" in rebuild["error"]
    assert rows(file, *INVENTORY_ROWS) == before


async def test_upgraded_service_opens_after_rebuild(settings: ShopSettings, file: Path):
    before = rows(file, *INVENTORY_ROWS)
    outdate(file)
    execute(file, "ALTER TABLE products RENAME COLUMN name TO title")
    with inventory(settings) as (process, client):
        await client.until_open()
        rebuild = await client.until_ended()
        process.stop()
    assert (rebuild["status"], rebuild["tables"]) == ("COMPLETED", None)
    assert rows(file, *INVENTORY_ROWS) == before


async def test_upgraded_service_stops_while_it_rebuilds(settings: ShopSettings, file: Path):
    outdate(file)
    with inventory(settings) as (process, client):
        await eventually(client.is_live, within_seconds=30)
        process.stop()
    assert not leftover(file).exists()


async def test_failing_rebuild_keeps_upgraded_service_closed(settings: ShopSettings, file: Path):
    outdate(file)
    with inventory(settings, "after_rebuild_batch") as (process, client):
        await eventually(client.is_live, within_seconds=30)
        await eventually(lambda: "whose rebuild fails" in client.get("/health/ready").text, 30)
        refused = client.get("/products")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["type"] == "urn:quadrille:problem:rebuilding"
        assert client.get("/rebuild").json()["last"]["status"] == "FAILED"
        assert client.start_rebuild().status_code == 409  # the next attempt starts without it
        process.stop()


async def test_events_during_rebuild_are_in_new_tables(tmp_path: Path, inventory_file: Path):
    log, before = LOGS["inventory"], rows(inventory_file, *INVENTORY_ROWS)
    with opened(tmp_path / "inventory.db") as database:
        await open_and_rebuild(database, *INVENTORY)
        await write_log(database, log[:500])
        built = await build_beside(database, INVENTORY.derived)
        await write_log(database, log[500:])
        await take_over(database, INVENTORY.derived, built)
    assert rows(tmp_path / "inventory.db", *INVENTORY_ROWS) == before


async def test_aborted_swap_changes_nothing(tmp_path: Path, inventory_file: Path):
    file = Path(shutil.copy(inventory_file, tmp_path))
    damage(file)
    before = rows(file, *INVENTORY_ROWS)
    with opened(file) as database:
        built = await build_beside(database, INVENTORY.derived)
        work = partial(swap, derived=INVENTORY.derived, built=built)
        with pytest.raises(OperationalError, match="interrupted"):
            await database.run_attached(leftover(file), BUILT, work, should_abort=lambda: True)
        assert rows(file, *INVENTORY_ROWS) == before
        pragmas = "PRAGMA foreign_keys", "SELECT count(*) FROM pragma_database_list"
        assert await database.run(
            lambda connection: [connection.exec_driver_sql(sql).scalar() for sql in pragmas]
        ) == [1, 1]


async def test_tables_are_rebuilt_for_stopped_service(tmp_path: Path, inventory_file: Path):
    file = Path(shutil.copy(inventory_file, tmp_path))
    before = rows(file, *INVENTORY_ROWS)
    damage(file)
    outdate(file)
    work = partial(
        open_complete_tables,
        service="inventory",
        metadata=INVENTORY.tables,
        derived=INVENTORY.derived,
    )
    with opened(file) as database:
        await database.run(work)
    assert rows(file, *INVENTORY_ROWS) == before
