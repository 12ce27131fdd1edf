"""A shop whose parts can be broken: proxies before the broker, disks that can be filled, and a supervisor."""

import asyncio
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from tests.support.eventually import eventually
from tests.support.mail_sink import Answer
from tests.support.running_shop import RunningShop
from tests.support.shop_expectations import SERVICES
from tests.support.shop_processes import ROOT
from tests.support.tcp_proxy import TcpProxy, serving

BROKER, MAIL = "broker", "mail"
UNREACHABLE = (NatsError, OSError, TimeoutError)
"""What a client of the broker raises while the broker or the stream is absent."""
DISK_MIB = 4096
SPARE_KIB = 64
"""Of a full disk: the system refuses to make it smaller than its content."""
SUPERVISION_SECONDS = 0.2
READY_SECONDS = 120


class Ending(NamedTuple):
    """A service that ended without being asked to, and was started again."""

    service: str
    exit_code: int
    last_line: str


class Disk:
    """A file system in memory at this directory, which can be made as small as what it holds."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", self._directory)
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", "--lazy", self._directory)

    def fill(self) -> None:
        """Repeated until nothing was written between measuring and resizing."""
        while True:
            kibibytes = int(_run("df", "--output=used", "-k", self._directory).split()[-1])
            with suppress(AssertionError):
                return self._resize(f"{kibibytes + SPARE_KIB}k")

    def free(self) -> None:
        self._resize(f"{DISK_MIB}m")

    def _resize(self, size: str) -> None:
        _run("mount", "-o", f"remount,size={size}", self._directory)


class ChaosShop(RunningShop):
    """What the faults act on."""

    def __init__(self, directory: Path, *, has_small_disks: bool, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.poison: set[str] = set()
        """The subjects of messages that no service can handle."""
        self.endings: list[Ending] = []
        self.findings: list[str] = []
        """What faults found wrong."""
        self.notifier_kills = 0
        """After each, mails that were accepted and not recorded are sent again."""
        self.proxies: dict[str, TcpProxy] = {}
        """By service, on its way to the broker."""
        self.disks = {
            "data": Disk(self.data_dir),
            BROKER: Disk(directory / "nats"),
        }
        self.has_small_disks = has_small_disks
        self._locks = {name: asyncio.Lock() for name in (BROKER, MAIL, *SERVICES)}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Started, with a supervisor that starts each service again that ends."""
        async with AsyncExitStack() as life:
            for disk in self.disks.values() if self.has_small_disks else ():
                life.enter_context(disk)
            life.enter_context(self)
            self.broker.start()
            for name in SERVICES:
                self.proxies[name] = TcpProxy(self.broker.port)
                await life.enter_async_context(serving(self.proxies[name]))
            self.mail.start()
            for name in SERVICES:
                self.start_service(name)
            await self.until_ready(*SERVICES)
            await self.sign_in()
            supervisor = asyncio.create_task(self._supervise())
            try:
                yield
            finally:
                supervisor.cancel()

    def nats_url(self, name: str) -> str:
        """Services connect through their proxy; the provisioner does not."""
        url = self.broker.url_of(name)
        if name not in self.proxies:
            return url
        return url.replace(f":{urlsplit(url).port}", f":{self.proxies[name].port}")

    @asynccontextmanager
    async def alone(self, *parts: str) -> AsyncIterator[None]:
        """No other fault touches these parts meanwhile, nor does the supervisor."""
        async with AsyncExitStack() as stack:
            for part in sorted(parts):
                await stack.enter_async_context(self._locks[part])
            yield

    @asynccontextmanager
    async def administrator(self) -> AsyncIterator[Client]:
        """A client of the broker that may do everything."""
        client = await nats.connect(
            self.broker.admin_url, allow_reconnect=False, connect_timeout=1, error_cb=_ignore
        )
        try:
            yield client
        finally:
            await client.close()

    async def kill_services(self, *names: str) -> None:
        """Those that still run."""
        await asyncio.to_thread(self.kill, *[name for name in names if name in self.running()])
        self.notifier_kills += "notifier" in names

    async def stop_service(self, name: str) -> None:
        """Once it listens: before that, it dies of the signal."""
        await self.until_listening(name)
        await asyncio.to_thread(self.terminate, name)

    async def until_listening(self, name: str) -> None:
        await eventually(lambda: asyncio.to_thread(self._listens, name), READY_SECONDS)

    async def stop_published(self, name: str) -> bool:
        """Stop it when the broker has all its events; False if it stopped with some left."""
        await self.until_ready(name)
        await eventually(lambda: self._unpublished(name) == 0, READY_SECONDS)
        await self.stop_service(name)
        return self._unpublished(name) == 0

    async def until_ready(self, *names: str) -> None:
        """In a thread: a service asks the broker, and this loop runs the proxies."""
        for name in names:
            await eventually(
                lambda name=name: asyncio.to_thread(self._is_ready, name), READY_SECONDS
            )

    def _listens(self, name: str) -> bool:
        self._restart_if_ended(name)
        return self.health(name, "live") is not None

    def has_database(self, name: str) -> bool:
        return (self.data_dir / f"{name}.db").exists()

    def last_position(self, name: str) -> int:
        """The end of a service's event log; 0 while it cannot be read, for example on a full disk."""
        with suppress(sqlite3.OperationalError):
            [[position]] = self._select(name, "SELECT coalesce(max(position), 0) FROM event_log")
            return int(position)
        return 0

    def _unpublished(self, name: str) -> int:
        query = "SELECT count(*) FROM event_log WHERE stream_seq IS NULL"
        [[count]] = self._select(name, query)
        return int(count)

    def quadrille(self, name: str, *arguments: str) -> str:
        """The output of a command that must succeed, run as this service's user."""
        return _run(
            sys.executable, "-m", "quadrille", *arguments, env=self.environment(name), cwd=ROOT
        )

    def order_ids(self) -> list[str]:
        """None while the database cannot be read."""
        with suppress(sqlite3.OperationalError):
            rows = self._select("order", "SELECT order_id FROM orders")
            return [str(order_id) for (order_id,) in rows]
        return []

    def dead_letters(self, name: str) -> list[str]:
        """The subjects of a service's dead letters."""
        return [
            str(subject) for (subject,) in self._select(name, "SELECT subject FROM dead_letter")
        ]

    def _select(self, name: str, query: str) -> list[tuple[Any, ...]]:
        url = f"file:{self.data_dir}/{name}.db?mode=ro"
        with closing(sqlite3.connect(url, uri=True)) as connection:
            return connection.execute(query).fetchall()

    @contextmanager
    def answering_mails(self, answer: Answer) -> Iterator[None]:
        self.mail.answer = answer
        try:
            yield
        finally:
            self.mail.answer = Answer.ACCEPTED

    def any_service(self, draw: random.Random) -> str:
        return draw.choice(list(SERVICES))

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(SUPERVISION_SECONDS)
            for name in self._ended():
                async with self.alone(name):
                    self._restart_if_ended(name)

    def _restart_if_ended(self, name: str) -> None:
        """Of its own accord, as when the broker has closed its connection for good."""
        if name in self.running() and self.has_ended(name):
            code = self.wait_exit(name)
            self.notifier_kills += name == "notifier"
            self.endings.append(Ending(name, code, self.log(name).splitlines()[-1]))
            self.start_service(name)

    def _ended(self) -> Iterator[str]:
        for name in self.running():
            if not self._locks[name].locked() and self.has_ended(name):
                yield name


async def _ignore(_error: Exception) -> None:
    """What fails raises; nothing need be logged."""


def _run(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
