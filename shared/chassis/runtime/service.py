"""A service's life: its parts put together, started, watched, and stopped in order."""

import argparse
import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Any, NoReturn

import structlog
import uvicorn
import uvloop
from filelock import FileLock
from litestar import Litestar
from litestar.types import ControllerRouterHandler
from sqlalchemy import MetaData

from shared.chassis import failpoints
from shared.chassis.engine.retention import RetentionLoop, RetentionRule
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.engine.task_runner import TaskHandler, TaskRunner
from shared.chassis.engine.unit_of_work import Message
from shared.chassis.engine.writer import Writer
from shared.chassis.errors import FatalError
from shared.chassis.http import resend, signing_keys
from shared.chassis.http.app import build_app
from shared.chassis.http.auth import PublicKeys
from shared.chassis.http.command_bus import CommandBus
from shared.chassis.http.policy import HttpPolicy
from shared.chassis.http.protocol import bounded_http
from shared.chassis.http.rate_limits import Limiter
from shared.chassis.jetstream.catch_up import CatchUp
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.consumer import Consumer
from shared.chassis.jetstream.relay import Relay
from shared.chassis.messages import clock
from shared.chassis.messages.decider import on
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import subject_of_every
from shared.chassis.runtime import logs
from shared.chassis.storage import database_identity, event_log
from shared.chassis.storage.database import (
    CHASSIS_METADATA,
    create_tables,
    database_url,
    open_for_reading,
    open_for_writing,
)
from shared.chassis.storage.idempotency import IDEMPOTENCY_KEY, RETENTION_HOURS
from shared.chassis.storage.inbox import INBOX
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.task_queue import all_kinds
from shared.contracts import IDENTITY, PUBLISHERS
from shared.settings import Settings, SettingsError, listed, load

STOP_SECONDS = 3
"""For requests that are being answered, and for the writer."""
ANSWER_SECONDS = 2
"""A command that is not carried out so long after the signal to stop is refused: 503, rather than no answer."""
EFFECT_SECONDS = 5
"""For mails and bookings on their way when the signal to stop comes; then they are cut off, and repeated later."""
DRAIN_SECONDS = 1.5
LATE_SECONDS = 30
"""A service whose overdue deadlines wait so much longer than the grace is not ready."""
CANCEL_AGAIN_SECONDS = 0.2
RESEND_AT_ONCE = 5000
"""Events in one transaction: bounds how long commands wait for it."""
KEEP_ALIVE_SECONDS = 75
"""Longer than clients and load balancers keep an idle connection: they must be the ones to close it, or a request
sent in the moment that we close gets no answer."""

log = structlog.get_logger()


class BackgroundLoops:
    """Loops that run beside the HTTP server; one that ends by itself ends the process."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Begin a loop."""

        async def loop() -> None:
            await run()

        task = asyncio.create_task(loop(), name=name)
        task.add_done_callback(_end_process_if_broken)
        self._tasks[name] = task

    async def cancel(self, *names: str) -> None:
        """End these loops where they wait.

        A cancellation can be lost: Python 3.11's `wait_for`, which nats-py waits with, swallows one that
        arrives together with its answer. So it is repeated until the loop has ended.
        """
        ending = {self._tasks.pop(name) for name in names if name in self._tasks}
        while ending:
            for task in ending:
                task.cancel()
            _, ending = await asyncio.wait(ending, timeout=CANCEL_AGAIN_SECONDS)

    async def join(self, name: str, seconds: float) -> None:
        """Wait until a loop that was told to stop has ended, so long at most; then end it."""
        if task := self._tasks.get(name):
            await asyncio.wait([task], timeout=max(seconds, 0))
            await self.cancel(name)


class Service:
    """The parts of a service that decides: writer, relay, consumer, jobs, on one database and one broker."""

    def __init__(
        self,
        source: str,
        settings: Settings,
        logic: ServiceLogic[Any, Any],
        tables: MetaData,
        jobs: tuple[TaskHandler, ...] = (),
        *,
        expiries: tuple[RetentionRule, ...] = (),
    ) -> None:
        self.source = source
        self.settings = settings
        self._tables = tables
        # The service that signs receives its own key events too, and so notices a forged one.
        logic = logic._replace(
            subscriptions=(*logic.subscriptions, *(on(event_type) for event_type in IDENTITY))
        )
        self._subjects = [
            subject_of_every(PUBLISHERS[reaction.event_type], reaction.event_type)
            for reaction in logic.subscriptions
        ]
        url = database_url(source, settings)
        self.database = open_for_writing(url)
        self.reads = open_for_reading(url)
        self.reader = Reader(url)
        self.broker = JetStreamConnection(source, settings)
        self.writer = Writer(
            self.database,
            source,
            logic,
            on_events=self._on_recorded,
            on_tasks=self._wake_jobs,
        )
        self.relay = Relay(source, self.reads, self.broker, self.writer)
        deadlines = [job for job in jobs if job.is_deadline]
        self.jobs = TaskRunner(
            self.reads, self.writer, [job for job in jobs if not job.is_deadline]
        )
        self.deadlines = TaskRunner(self.reads, self.writer, deadlines, self._handled_until)
        self.commands = CommandBus(source, self.writer)
        self.limits = Limiter(settings.rate_limits)
        self.keys = PublicKeys(self.reads)
        self._housekeeping = RetentionLoop(
            self.writer, [*expiries, *chassis_expiries(settings.inbox_retention_days)]
        )
        self._background = BackgroundLoops()
        self._consumer: Consumer | None = None
        self._catch_up: CatchUp | None = None
        self._lock: FileLock | None = None
        self._stopped_at: float | None = None

    def waiting_for(self) -> list[str]:
        """What keeps the service from its work, in words; empty when it is ready."""
        if self._consumer is None:
            return ["its database"]
        reasons = [self._consumer.waiting_for] if self._consumer.waiting_for else []
        if self.relay.backlog:
            refusal = f" ({self.broker.refusal})" if self.broker.refusal else ""
            reasons.append(f"the broker to take its events{refusal}")
        if self._catch_up and self._are_deadlines_late():
            reasons.append(f"{self._catch_up.waiting_for}, before its overdue deadlines")
        return reasons

    def warnings(self) -> list[str]:
        """What an operator should look at, although the service does its work."""
        if not self.relay.refused:
            return []
        what = f"the broker refuses {self.relay.refused} of its events for good"
        return [f"{what}: quadrille check names them, quadrille resend sends them again"]

    async def resend(self, first: int, last: int) -> None:
        """Publish the events of these positions again, under message ids that the broker does not know.

        The newest event follows them, to be the stream's last of this service: `_allow_relay` compares it.
        """
        for start in range(first, last + 1, RESEND_AT_ONCE):
            end = min(last, start + RESEND_AT_ONCE - 1)
            await self.writer.run_in_transaction(partial(event_log.resend, first=start, last=end))
        newest = await self.reads.run(event_log.last_position)
        await self.writer.run_in_transaction(
            partial(event_log.resend, first=max(newest, last + 1), last=newest)
        )
        self.relay.wake()

    def _on_recorded(self, events: Sequence[RecordedEvent]) -> None:
        if signing_keys.concerns(events):
            self.keys.reload()
        self.relay.wake()

    async def _deliver(self, messages: Sequence[Message]) -> None:
        await self.writer.handle(messages)
        if signing_keys.concerns(messages):
            self.keys.reload()

    def _are_deadlines_late(self) -> bool:
        since = self.deadlines.held_back_since
        usual = self.settings.order_timeout_grace_seconds + LATE_SECONDS
        return since is not None and (clock.now() - since).total_seconds() > usual

    async def _handled_until(self) -> datetime | None:
        return await self._catch_up.handled_until() if self._catch_up else None

    def _wake_jobs(self, due_at: datetime) -> None:
        self.jobs.wake(due_at)
        self.deadlines.wake(due_at)

    def app(
        self,
        title: str,
        routes: Sequence[ControllerRouterHandler],
        on_startup: Sequence[Callable[[], Awaitable[None]]] = (),
        dependencies: Mapping[str, object] | None = None,
    ) -> Litestar:
        """The HTTP application that starts and stops this service with itself.

        Its handlers may depend on `service`, `commands`, `reads` and what `dependencies` adds.
        """
        return build_app(
            title,
            [*routes, resend.router(self.reads, self.resend)],
            settings=self.settings,
            keys=self.keys,
            waiting_for=self.waiting_for,
            warnings=self.warnings,
            dependencies={
                "service": self,
                "commands": self.commands,
                "reads": self.reads,
                **(dependencies or {}),
            },
            on_startup=[self.start, *on_startup],
            on_stopping=self.begin_stop,
            on_shutdown=self.stop,
        )

    async def start(self) -> None:
        """Open the database, then start every part; none of them needs the broker to be up."""
        self._lock = database_identity.lock(self.database.url)
        database_id = await self.database.run(partial(database_identity.claim, service=self.source))
        await create_tables(self.database, CHASSIS_METADATA, self._tables)
        self._consumer = Consumer(
            self.broker,
            self.source,
            self._subjects,
            database_id,
            self._deliver,
            before_binding=self._allow_relay,
        )
        self._catch_up = CatchUp(
            self.broker,
            self.relay,
            self._consumer,
            self.source,
            self.settings.order_timeout_grace_seconds,
        )
        await self._warn_of_unknown_tasks()
        self._background.start("database", self.database.watch)
        self._background.start("reads", self.reads.watch)
        self._background.start("reader", self.reader.watch)
        self._background.start("writer", self.writer.run)
        self._background.start("relay", self.relay.run)
        self._background.start("consumer", self._consumer.run)
        self._background.start("jobs", self.jobs.run)
        self._background.start("deadlines", self.deadlines.run)
        self._background.start("housekeeping", self._housekeeping.run)
        log.info("service.started", database=str(self.database.url))

    async def _warn_of_unknown_tasks(self) -> None:
        kinds = set(await self.reads.run(all_kinds)) - self.jobs.kinds - self.deadlines.kinds
        if kinds:  # a newer release wrote them; they stay in the table
            log.warning("tasks.unknown", kinds=sorted(kinds))

    def begin_stop(self) -> None:
        """Start no more tasks, and answer every caller soon: the process was asked to stop."""
        if self._stopped_at is not None:
            return
        loop = asyncio.get_running_loop()
        self._stopped_at = loop.time()
        self.jobs.stop()
        self.deadlines.stop()
        loop.call_later(ANSWER_SECONDS, self.writer.give_up_waiting)

    async def stop(self) -> None:
        """Take no more, finish what was taken, send what can be sent, close: within ten seconds."""
        self.begin_stop()
        await self._background.cancel("consumer", "deadlines", "housekeeping")
        await self._background.join("jobs", self._seconds_left(EFFECT_SECONDS))
        await self.relay.drain(DRAIN_SECONDS)
        await self._background.cancel("relay")
        self.writer.stop()
        await self._background.join("writer", STOP_SECONDS)
        await self._background.cancel("database", "reads", "reader")
        await self.broker.close()
        await self.database.close()
        await self.reads.close()
        await self.reader.close()
        if self._lock:
            self._lock.release()
        log.info("service.stopped")

    def _seconds_left(self, seconds: float) -> float:
        """Of so many after the signal to stop."""
        return seconds - (asyncio.get_running_loop().time() - (self._stopped_at or 0))

    async def _allow_relay(self) -> None:
        """Publish only if the log goes at least as far as what was published from it.

        A copy restored from a backup would use positions a second time, and the events of both lives would
        differ. Raises FatalError.
        """
        if self.relay.is_allowed:  # what was published since is ours, or a forgery
            return
        published = await self.broker.last_published(self.source)
        if published is not None:
            position, event_id = published
            recorded = await self.reads.run(partial(event_log.event_id_at, position=position))
            if recorded != event_id:
                raise FatalError(
                    f"{self.database.url.database} is not the log that event {position} of "
                    f"{self.source} was published from: it is a restored copy, or new; restore "
                    "the latest database, or delete the stream SHOP to start from this one"
                )
        self.relay.allow()


def chassis_expiries(inbox_retention_days: int) -> Iterator[RetentionRule]:
    """Of the tables that every service has."""
    yield RetentionRule(IDEMPOTENCY_KEY.c.kept_at, timedelta(hours=RETENTION_HOURS))
    if inbox_retention_days:
        yield RetentionRule(INBOX.c.heard_at, timedelta(days=inbox_retention_days))


def run(
    name: str,
    port_of: Callable[[Settings], int],
    build: Callable[[Settings], Litestar],
    host_of: Callable[[Settings], str] = attrgetter("host"),
) -> NoReturn:
    """Run a service until SIGTERM or SIGINT; exit 0 after a clean end, 1 with one sentence otherwise."""
    _take_no_arguments(name)
    faulthandler.enable()  # a crash in C says where it was
    try:
        settings = load()
        failpoints.arm(settings.failpoint)
        os.umask(0o077)  # whoever else is on this machine has no business in the databases
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        listening = _listen(host_of(settings), port_of(settings))
    except (SettingsError, ValueError, OSError) as error:
        sys.exit(f"{name}: {error}")
    logs.configure(name, settings)
    try:
        uvloop.run(_serve(build(settings), listening, settings))
    except SettingsError as error:
        sys.exit(f"{name}: {error}")
    sys.exit(0)


def _take_no_arguments(name: str) -> None:
    argparse.ArgumentParser(
        prog=name,
        description=sys.modules["__main__"].__doc__,
        epilog="Each setting is an environment variable, QUADRILLE_…: README.md lists them.",
    ).parse_args()


class _Server(uvicorn.Server):
    """Uvicorn, but a process that was asked to stop, and did, exits 0 instead of dying by the signal."""

    def __init__(self, config: uvicorn.Config, on_stopping: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_stopping = on_stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_stop)
        yield

    def _ask_to_stop(self) -> None:
        self.should_exit = True
        if self._on_stopping:
            self._on_stopping()


async def _serve(app: Litestar, listening: socket.socket, settings: Settings) -> None:
    proxies = listed(settings.trusted_proxies)
    policy = HttpPolicy.of(settings, listening.getsockname()[0])
    server = _Server(
        uvicorn.Config(
            policy.protect(app),
            lifespan="on",
            http=bounded_http(settings),
            ws="none",
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,  # not from uvicorn's own environment variable
            log_level="error",  # its warnings are about requests, and whoever sends them chooses how many
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        ),
        app.state.on_stopping,
    )
    await server.serve(sockets=[listening])
    if not server.started:
        sys.exit(1)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises OSError saying which port is taken."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        message = f"port {port} on {host} can not be used: {error.strerror}"
        raise OSError(message) from error
    listening.set_inheritable(True)
    return listening


def _end_process_if_broken(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is None:
        return
    try:
        if isinstance(error, FatalError):
            log.critical("service.failed", reason=str(error))
            return
        log.critical("component.crashed", part=task.get_name(), exc_info=error)
    finally:
        os._exit(1)  # everything that matters is durable; limping on would hide the fault
