"""Faults of the services' processes and of their databases."""

import asyncio
import random
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import httpx

from shared.chassis.errors import REFUSED
from shared.chassis.failpoints import EXIT_CODE
from tests.chaos.fault import fault
from tests.chaos.shop import BROKER, ChaosShop
from tests.support.eventually import eventually
from tests.support.shop_expectations import SERVICES

LANE = "services"

DECIDING = ("before_commit", "after_commit", "after_publish", "after_marking")
HANDLING = ("after_handling", "after_ack")
FAILPOINTS = {
    "order": (*DECIDING, *HANDLING),
    "inventory": (*DECIDING, *HANDLING),
    "shipping": (*DECIDING, *HANDLING),
    "notifier": (*DECIDING, *HANDLING, "after_smtp_accepted"),
    "read": HANDLING,
}
MAX_PASSES = 20
RECONCILE_SECONDS = 120
CONSUMED = {
    "order": ("StockReserved", "ShipmentCompleted", "ShipmentFailed"),
    "inventory": ("OrderCreated", "ShipmentCompleted", "OrderCancelled"),
    "shipping": ("OrderCreated", "StockReserved", "OrderCancellationRequested"),
    "notifier": ("OrderCreated", "OrderCompleted"),
    "read": ("OrderCreated", "OrderConfirmed", "StockReserved"),
}
"""Events of others that a service of an older release cannot read."""
RESTORABLE = ("inventory", "shipping", "notifier")
ACK_WAIT_SHARE = 0.1
"""Of the times that a service is frozen: for longer than the broker waits for an acknowledgement."""
LONGER_THAN_ACK_WAIT_SECONDS = 32


@fault(
    kind="service killed", lane=LANE, test="e2e/test_crashes.py::test_service_recovers_from_crash"
)
async def service_killed(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    name = shop.any_service(draw)
    async with shop.alone(name):
        await shop.kill_services(name)
        yield
        shop.start_service(name)


@fault(
    kind="service killed", lane=LANE, test="e2e/test_crashes.py::test_service_recovers_from_crash"
)
async def service_died_at_failpoint(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """Unless it does not come to that point in time."""
    name = shop.any_service(draw)
    point = draw.choice(FAILPOINTS[name])
    async with shop.alone(name):
        await shop.kill_services(name)
        shop.start_service(name, failpoint=f"{point}:{draw.randint(2, MAX_PASSES)}")
        yield
        if shop.has_ended(name):
            assert shop.wait_exit(name) == EXIT_CODE, shop.log(name)[-2000:]
        else:
            await shop.kill_services(name)
        shop.start_service(name)


@fault(
    kind="service stopped",
    lane=LANE,
    test="e2e/test_lifecycle.py::test_service_stopped_under_load_loses_nothing",
)
async def service_stopped(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """As in a deployment: it must end with exit code 0 within ten seconds."""
    name = shop.any_service(draw)
    async with shop.alone(name):
        await shop.stop_service(name)
        yield
        shop.start_service(name)


@fault(
    kind="rolling restart",
    lane=LANE,
    test="e2e/test_upgrade.py::test_upgraded_shop_finishes_pending_work",
)
async def rolling_restart(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """All services one after the other."""
    yield
    for name in draw.sample(list(SERVICES), len(SERVICES)):
        async with shop.alone(name):
            await shop.stop_service(name)
            shop.start_service(name)


@fault(
    kind="slow consumer",
    lane=LANE,
    test="component/test_consumer.py::test_locked_database_delays_events_without_loss",
)
async def service_frozen(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    name = shop.any_service(draw)
    async with shop.alone(name):
        shop.pause(name)
        try:
            if draw.random() < ACK_WAIT_SHARE:
                await asyncio.sleep(LONGER_THAN_ACK_WAIT_SECONDS)
            yield
        finally:
            shop.resume(name)


@fault(
    kind="clock",
    lane=LANE,
    test="component/test_task_runner.py::test_tasks_run_after_steps_of_the_clock",
)
async def clock_behind(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """A service whose clock is up to an hour late, and then is set: back and forth."""
    name = shop.any_service(draw)
    async with shop.alone(name):
        await shop.kill_services(name)
        seconds = str(-draw.uniform(1, 3600))
        shop.start_service(name, through=("tests.support.shifted_clock", seconds))
        yield
        await shop.kill_services(name)
        shop.start_service(name)


@fault(
    kind="releases mixed",
    lane=LANE,
    test="component/test_redrive.py::test_event_of_later_release_is_handled_after_upgrade",
)
async def release_behind(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """A service of an older release receives events of a later schema version, and then is upgraded."""
    name = shop.any_service(draw)
    event_type = draw.choice(CONSUMED[name])
    async with shop.alone(name):
        await shop.stop_service(name)
        shop.start_service(name, through=("tests.support.older_release", event_type))
        yield
        await shop.stop_service(name)
        shop.start_service(name)


@fault(
    kind="two copies",
    lane=LANE,
    test="component/test_database_identity.py::test_second_process_on_a_database_is_refused",
)
async def second_copy(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """It is refused."""
    name = shop.any_service(draw)
    async with shop.alone(name):
        await shop.until_listening(name)  # a process that starts has not locked its database yet
        code = await asyncio.to_thread(shop.start_second, name)
        assert code == REFUSED or shop.has_ended(name)
        yield


@fault(
    kind="database locked",
    lane=LANE,
    test="component/test_consumer.py::test_locked_database_delays_events_without_loss",
)
async def database_locked(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    name = shop.any_service(draw)
    async with shop.alone(name):
        await eventually(lambda: shop.has_database(name))
        with closing(_open(shop.data_dir / f"{name}.db")) as connection:
            await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


@fault(
    kind="disk full",
    lane=LANE,
    test="component/test_mail_delivery.py::test_mails_are_sent_once_on_a_full_disk",
    needs_small_disk=True,
)
async def data_disk_full(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    shop.disks["data"].fill()
    try:
        yield
    finally:
        shop.disks["data"].free()


@fault(
    kind="rebuild",
    lane="operations",
    test="component/test_rebuild.py::test_service_killed_in_swap_keeps_tables",
)
async def tables_rebuilt(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """While the service is in use, and perhaps killed; the new tables must equal the old ones."""
    name = shop.any_service(draw)
    with suppress(httpx.TransportError):
        await asyncio.to_thread(shop.admin.post, name, "/rebuild")
    yield
    with suppress(httpx.TransportError):
        answer = await asyncio.to_thread(shop.admin.get, name, "/rebuild")
        last = answer.json().get("last") or {}
        if last.get("differences"):
            shop.findings.append(f"a rebuild of {name} differs: {last}")


@fault(
    kind="database restored",
    lane=LANE,
    test="e2e/test_recovery.py::test_restored_services_fetch_their_later_events",
)
async def database_restored(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """An older copy of a database is put back after its disk broke, and `quadrille reconcile` fetches the rest.

    Not the order service's: the answers under idempotency keys are in no event. And nothing else fails meanwhile:
    what is neither in the database nor at the broker is lost.
    """
    name = draw.choice(RESTORABLE)
    database = shop.data_dir / f"{name}.db"
    async with shop.alone(BROKER, name):
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / database.name
            await asyncio.to_thread(_copy, database, copy)
            yield
            if await shop.stop_published(name):
                shop.delete_database(name)
                shutil.copy(copy, database)
                # Like an operator, repeat it if the broker is too slow.
                await eventually(
                    lambda: asyncio.to_thread(shop.quadrille, name, "reconcile", name),
                    RECONCILE_SECONDS,
                )
                shop.notifier_kills += name == "notifier"
            shop.start_service(name)


@fault(
    kind="read database deleted",
    lane=LANE,
    test="e2e/test_lifecycle.py::test_deleted_read_database_is_rebuilt_equal",
)
async def read_database_deleted(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    async with shop.alone("read"):
        await shop.stop_service("read")
        shop.delete_database("read")
        shop.start_service("read")
        yield


def _copy(database: Path, copy: Path) -> None:
    with closing(_open(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{database}?mode=rw",
        uri=True,
        timeout=30,
        isolation_level=None,
        check_same_thread=False,
    )
