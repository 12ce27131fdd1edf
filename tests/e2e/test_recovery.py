"""A service that was restored to an older copy, or lost its database, gets its events back and works on."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.chassis.errors import REFUSED
from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_expectations import ADMIN_EMAIL, ADMIN_PASSWORD
from tests.support.terminal import Terminal

MAIL = "jane@example.com"
START_SECONDS = 20


class Recovery:
    """A shop whose services are taken back to a backup, one after the other."""

    def __init__(self, shop: RunningShop, directory: Path) -> None:
        self.shop = shop
        self.backup = directory / "backup"
        self._terminal = Terminal(shop, directory / "home")

    def quadrille(self, *arguments: str, user: str = "order") -> tuple[int, str]:
        """Exit code and everything that was printed."""
        url = self.shop.broker.url_of(user)
        code, output, errors = self._terminal.run(*arguments, QUADRILLE_NATS_URL=url)
        return code, output + errors

    def sign_in(self) -> None:
        self._terminal.sign_in(ADMIN_EMAIL, ADMIN_PASSWORD)

    def reconcile(self, service: str, *options: str) -> dict[str, Any]:
        code, output = self.quadrille("reconcile", service, "--json", *options, user=service)
        assert code == 0, output
        document: dict[str, Any] = msgspec.json.decode(output)
        return document

    def refused_start(self, service: str) -> str:
        """The last line that a service has logged that does not start."""
        self.shop.start_service(service)
        assert self.shop.wait_exit(service, START_SECONDS) == REFUSED
        return self.shop.log(service).splitlines()[-1]

    def log_of(self, service: str) -> list[tuple[Any, ...]]:
        """Everything about the recorded events but where the stream has them."""
        query = "SELECT position, event_id, entity_id, version, event_type, data FROM event_log"
        with closing(sqlite3.connect(self.shop.data_dir / f"{service}.db")) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def recovery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recovery]:
    directory = tmp_path_factory.mktemp("recovery")
    with RunningShop(directory, carrier_success_rate=1) as shop:
        asyncio.run(_open(shop))
        yield Recovery(shop, directory)


async def _open(shop: RunningShop) -> None:
    await shop.start()
    await shop.stock_up(lamp=100)


async def test_restored_services_fetch_their_later_events(recovery: Recovery):
    shop = recovery.shop
    early = shop.guest.order(("lamp", 1), email=MAIL)
    code, output = recovery.quadrille("backup", str(recovery.backup))
    assert code == 0, output
    late = [shop.guest.order(("lamp", 1), email=MAIL) for _ in range(3)]
    refused = shop.guest.order(("lamp", 999), email=MAIL)
    for order in (early, *late):
        await shop.until(order["orderId"], "COMPLETED")
    await shop.until(refused["orderId"], "CANCELLED_NO_STOCK")
    await shop.settle()
    for service in ("order", "inventory"):  # the others have lost all of it below
        before = recovery.log_of(service)
        mails = shop.mail_count(MAIL)
        shop.terminate(service)
        open_order = shop.guest.order(("lamp", 1)) if service != "order" else None
        code, output = recovery.quadrille("restore", str(recovery.backup), service, "--force")
        assert code == 0, output
        assert f"quadrille reconcile {service}" in recovery.refused_start(service)
        dry = recovery.reconcile(service, "--dry-run")
        assert len(recovery.log_of(service)) == dry["first"] - 1 < len(before)
        result = recovery.reconcile(service)
        assert result == dry
        assert result["tasks"] == 0
        assert recovery.log_of(service) == before
        shop.start_service(service)
        await shop.until_ready(service)
        if service == "order":
            await shop.sign_in()
        if open_order:
            await shop.until(open_order["orderId"], "COMPLETED")
        await shop.settle()
        assert shop.mail_count(MAIL) == mails


async def test_lost_databases_are_made_from_events(recovery: Recovery):
    shop = recovery.shop
    done = shop.guest.order(("lamp", 1), email=MAIL)
    await shop.until(done["orderId"], "COMPLETED")
    await shop.settle()
    for service in ("shipping", "notifier"):
        before, mails = recovery.log_of(service), shop.mail_count(MAIL)
        shop.terminate(service)
        shop.delete_database(service)
        open_order = shop.guest.order(("lamp", 1))
        assert f"quadrille reconcile {service}" in recovery.refused_start(service)
        assert recovery.reconcile(service)["tasks"] == 0
        assert recovery.log_of(service) == before
        shop.start_service(service)
        await shop.until_ready(service)
        await shop.until(open_order["orderId"], "COMPLETED")
        await shop.settle()
        assert shop.mail_count(MAIL) == mails


async def test_check_names_what_does_not_move(recovery: Recovery):
    shop = recovery.shop
    shop.terminate("inventory")
    order = shop.guest.order(("lamp", 1))

    def is_stuck() -> bool:
        code, output = recovery.quadrille("check", "--stuck-after", "1")
        return code == 1 and "inventory: an event of order" in output

    await eventually(is_stuck)
    shop.start_service("inventory")
    await shop.until_ready("inventory")
    await shop.until(order["orderId"], "COMPLETED")
    await shop.settle()
    assert recovery.quadrille("check")[0] == 0


async def test_check_repairs_changed_tables(recovery: Recovery):
    recovery.sign_in()
    with closing(sqlite3.connect(recovery.shop.data_dir / "shipping.db")) as connection, connection:
        connection.execute("UPDATE shipments SET tracking_number = 'X'")
    code, output = recovery.quadrille("check")
    assert code == 1
    assert "tables in shipping.db were changed" in output
    code, output = recovery.quadrille("check", "--repair")
    assert code == 0, output
    assert "shipping rebuilds its tables\n" in output


async def test_online_check_compares_reports_of_services(recovery: Recovery):
    shop = recovery.shop
    recovery.sign_in()
    order = shop.guest.order(("lamp", 1))
    await shop.until(order["orderId"], "COMPLETED")
    await shop.settle()
    code, output = recovery.quadrille("check", "--online")
    assert code == 0, output
    change = "UPDATE events SET event_id = ? WHERE source = 'shipping' AND position = 1"
    with closing(sqlite3.connect(shop.data_dir / "read.db")) as connection, connection:
        query = "SELECT event_id FROM events WHERE source = 'shipping' AND position = 1"
        event_id = connection.execute(query).fetchone()
        connection.execute(change, ["another"])
    code, output = recovery.quadrille("check", "--online")
    assert code == 1
    assert "read: log of shipping" in output
    with closing(sqlite3.connect(shop.data_dir / "read.db")) as connection, connection:
        connection.execute(change, event_id)
    shop.terminate("notifier")
    code, output = recovery.quadrille("check", "--online")
    assert code == 1
    assert "cannot connect to the notifier service" in output
    shop.start_service("notifier")
    await shop.until_ready("notifier")
