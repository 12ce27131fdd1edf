"""The shop as processes, with clients, expectations, and the audit of its databases."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Self

from quadrille.audit.checks import run_checks
from quadrille.audit.pending import find_pending, find_warnings
from quadrille.audit.shop_snapshot import ShopSnapshot, read_shop
from quadrille.audit.snapshot import DEFINITIONS
from tests.support.eventually import eventually
from tests.support.shop_expectations import ADMIN_PASSWORD, SERVICES, ShopExpectations
from tests.support.shop_processes import ShopProcesses

SETTLE_SECONDS = 60

_open: list["RunningShop"] = []


def open_shops() -> list["RunningShop"]:
    """The shops that tests use at present."""
    return list(_open)


class RunningShop(ShopProcesses, ShopExpectations):
    """A broker, a mail sink and the services on free ports, with the settings given."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        ShopProcesses.__init__(self, directory, admin_password=ADMIN_PASSWORD, **settings)
        ShopExpectations.__init__(self)

    def __enter__(self) -> Self:
        _open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        ShopProcesses.close(self)
        ShopExpectations.close(self)
        _open.remove(self)

    async def start(self, *names: str) -> None:
        """Start these services, or all, and sign in."""
        await self.start_processes(*names or SERVICES)
        await self.sign_in(names or SERVICES)

    def mail_count(self, recipient: str) -> int:
        return len(self.mail.mails(recipient))

    async def settle(self, within_seconds: float = SETTLE_SECONDS) -> None:
        """Wait until nothing is pending; then no invariant is violated and no event is refused or a dead letter."""
        snapshot = await eventually(self.at_rest, within_seconds)
        assert run_checks(snapshot) == []
        assert list(find_warnings(snapshot)) == []

    def at_rest(self) -> ShopSnapshot:
        """The databases, when every event is published and handled, and no task is left. Raises AssertionError."""
        for service in DEFINITIONS:
            unfinished = _unfinished(self.data_dir / f"{service.name}.db")
            assert unfinished == 0, f"{service.name} has {unfinished} events to publish and tasks"
        snapshot = read_shop(self.data_dir)
        pending = list(find_pending(snapshot))
        assert pending == [], pending
        return snapshot


def _unfinished(database: Path) -> int:
    """The number of unpublished events and of tasks; much cheaper than reading the whole database."""
    query = "SELECT (SELECT count(*) FROM event_log WHERE stream_seq IS NULL) + count(*) FROM task"
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        count: int = connection.execute(query).fetchone()[0]
    return count
