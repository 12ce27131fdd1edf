"""The parts of a service that decides, put together: what starts them, connects them, and stops them in order."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog
from litestar import Litestar
from litestar.types import ControllerRouterHandler
from sqlalchemy import MetaData

from shared.chassis.engine.nudge import nudged_entities
from shared.chassis.engine.rebuild import DerivedTables
from shared.chassis.engine.redrive import DecidingRedrive
from shared.chassis.engine.redriver import Redriver
from shared.chassis.engine.retention import RetentionLoop, RetentionRule
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.engine.task_runner import TaskHandler, TaskRunner
from shared.chassis.engine.unit_of_work import Outcome, process_batch
from shared.chassis.engine.writer import Writer
from shared.chassis.http import identity
from shared.chassis.http.app import build_app
from shared.chassis.http.command_bus import CommandBus
from shared.chassis.http.contracts import ContractController
from shared.chassis.http.dead_letters import DeadLetterController
from shared.chassis.http.health import Backlog
from shared.chassis.http.log_audit import LogAuditor, show_audit
from shared.chassis.http.openapi import NO_DESCRIPTION, ApiDescription
from shared.chassis.http.rebuild import RebuildController
from shared.chassis.http.redrives import DeadLetters, RedriveController
from shared.chassis.http.resend import Resender, resend_events
from shared.chassis.http.tasks import TaskController, Tasks
from shared.chassis.messages import clock
from shared.chassis.messages.catalog import Catalog
from shared.chassis.runtime.backlog import backlog_of
from shared.chassis.runtime.logic import with_hooks
from shared.chassis.runtime.loops import Loop, writer_loop
from shared.chassis.runtime.opening import Opening
from shared.chassis.runtime.resources import Resources
from shared.chassis.runtime.retention_rules import chassis_retention_rules
from shared.chassis.runtime.transport import Transport
from shared.chassis.settings import ChassisSettings
from shared.chassis.storage import database_identity
from shared.chassis.storage.task_queue import all_kinds

ANSWER_SECONDS = 2
"""A command that is not executed this long after the signal to stop is answered 503, so that it gets an answer."""
EFFECT_SECONDS = 5
"""For mails and bookings under way when the signal to stop comes; then they are cancelled, and repeated later."""
LATE_SECONDS = 30
"""A service whose overdue deadlines wait this much longer than the grace period is not ready."""

OPERATIONS = (
    resend_events,
    show_audit,
    TaskController,
    DeadLetterController,
    RedriveController,
    RebuildController,
    ContractController,
)
"""What every service adds to its own routes."""

State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")

log = structlog.get_logger()


class Service(Generic[State, Command]):
    """Writer, relay, consumer and task runners on one database and one broker."""

    def __init__(
        self,
        source: str,
        settings: ChassisSettings,
        logic: ServiceLogic[State, Command],
        tables: MetaData,
        task_handlers: Sequence[TaskHandler] = (),
        *,
        catalog: Catalog,
        derived: Callable[[], DerivedTables],
        retention_rules: Sequence[RetentionRule] = (),
        deadline_grace_seconds: float = 60,
        versions: Path | None = None,
    ) -> None:
        """`derived` is a function of a module, `versions` the directory of the migrations of the service's own tables."""
        self.source = source
        self.settings = settings
        self._deadline_grace_seconds = deadline_grace_seconds
        kinds = [handler.kind for handler in task_handlers if not handler.is_deadline]
        self._logic = logic = with_hooks(logic, source, kinds)
        resources = self._resources = Resources(source, settings)
        self._opening = Opening(
            source, settings, resources, tables=tables, derived=derived, versions=versions
        )
        self._after_start: Sequence[Callable[[], Awaitable[None]]] = ()
        self.database = resources.database
        self.reads = resources.reads
        self.reader = resources.reader
        self.broker = resources.broker
        self.writer: Writer[State, Command] = Writer(
            self.database,
            partial(process_batch, source=source, logic=logic),
            on_commit=self._on_commit,
        )
        transport = self._transport = Transport(
            source, settings, logic, resources, self.writer, catalog=catalog
        )
        self.relay = transport.relay
        self.when_own_log = transport.when_own_log
        self.effects, self.deadlines = self._task_runners(task_handlers)
        self.commands = CommandBus(source, self.writer)
        redriving = DecidingRedrive(source, logic, catalog)
        self._redriver = Redriver(self.reads, self.writer, redriving)
        self._catalog = catalog
        self.limits = resources.limits
        self.keys = resources.keys
        self.links = resources.links
        rules = [*retention_rules, *chassis_retention_rules(settings.inbox_retention_days)]
        self._retention = RetentionLoop(self.writer, rules)
        self._stopping_since: float | None = None

    def waiting_for(self) -> list[str]:
        """What keeps the service from its work, as phrases; empty when it is ready."""
        if not self._opening.is_open:
            return self._opening.waiting_for()
        reasons = self._transport.waiting_for()
        if self._are_deadlines_late():
            reasons.append(f"{self._transport.handling_reason}, before its overdue deadlines")
        return reasons

    def warnings(self) -> list[str]:
        """What an operator should look at although the service works."""
        return self._transport.warnings()

    async def resend(self, first: int, last: int) -> None:
        """Publish the events of these positions again; consumers that have handled them ignore them."""
        await self._transport.publish_again(range(first, last + 1))

    def app(
        self,
        title: str,
        routes: Sequence[ControllerRouterHandler],
        on_startup: Sequence[Callable[[], Awaitable[None]]] = (),
        *,
        dependencies: Mapping[str, object] | None = None,
        api: ApiDescription = NO_DESCRIPTION,
        warnings: Callable[[], list[str]] = list,
    ) -> Litestar:
        """The HTTP application, which starts and stops this service.

        Its handlers may depend on `service`, `commands`, `reader` and what `dependencies` adds.
        """
        self._after_start = on_startup
        return build_app(
            title,
            [*routes, *OPERATIONS],
            settings=self.settings,
            api=api,
            keys=self.keys,
            links=self.links,
            waiting_for=self.waiting_for,
            warnings=lambda: [*self.warnings(), *warnings()],
            backlog=self._backlog,
            dependencies={**self._dependencies(), **(dependencies or {})},
            is_open=lambda: self._opening.is_open,
            on_startup=[self.start],
            on_stopping=self.begin_stop,
            on_shutdown=self.stop,
        )

    async def start(self) -> None:
        """Open the database, then start every part; none of them needs the broker to be up."""
        await self._opening.run(
            self._start_parts, before_migrating=database_identity.raise_if_restored
        )

    async def _start_parts(self, database_id: str) -> None:
        self._transport.connect(database_id, grace_seconds=self._deadline_grace_seconds)
        await self._warn_of_unknown_tasks()
        self._resources.start(*self._loops())
        for hook in self._after_start:
            await hook()
        log.info("service.started", database=str(self.database.url))

    def begin_stop(self) -> None:
        """The process was asked to stop: start no more tasks, and answer every caller soon."""
        if self._stopping_since is not None:
            return
        loop = asyncio.get_running_loop()
        self._stopping_since = loop.time()
        self.effects.stop()
        self.deadlines.stop()
        self.database.begin_stop()
        loop.call_later(ANSWER_SECONDS, self.writer.give_up_waiting)

    async def stop(self) -> None:
        """Consume no more, finish and publish what was started, close: within ten seconds."""
        self.begin_stop()
        await self._opening.stop()
        await self._resources.close()
        log.info("service.stopped")

    async def _backlog(self) -> Backlog:
        return await backlog_of(self.reader, self._transport.lag, is_open=self._opening.is_open)

    def _dependencies(self) -> dict[str, object]:
        runners = (self.effects, self.deadlines)
        return {
            "service": self,
            "commands": self.commands,
            "reader": self.reader,
            "resender": Resender(self.reads, self.resend),
            "dead_letters": DeadLetters(self.reader, self._redriver),
            "tasks": Tasks(self.reader, self.reads, self.writer, runners),
            "log_auditor": LogAuditor(self.reads),
            "rebuilder": self._opening.rebuilder,
            "catalog": self._catalog,
        }

    def _task_runners(self, handlers: Sequence[TaskHandler]) -> tuple[TaskRunner, TaskRunner]:
        """One for effects, and one for deadlines, which wait for the events of the others."""
        effects = [handler for handler in handlers if not handler.is_deadline]
        deadlines = [handler for handler in handlers if handler.is_deadline]
        return (
            TaskRunner(self.reads, self.writer, effects),
            TaskRunner(self.reads, self.writer, deadlines, self._transport.handled_until),
        )

    def _loops(self) -> list[Loop]:
        """In the order of their start; they are stopped in the opposite order, each before what it depends on."""
        return [
            writer_loop(self.writer),
            self._transport.publishing_loop(),
            Loop("effects", self.effects.run, grace_seconds=self._effect_seconds_left),
            Loop("retention", self._retention.run),
            Loop("deadlines", self.deadlines.run),
            Loop("redrives", self._redriver.run),
            *self._transport.consuming_loops(),
        ]

    def _on_commit(self, outcome: Outcome) -> None:
        if identity.concerns([*outcome.consumed, *outcome.events]):
            self._resources.reload_identity()
        if nudged_entities(self._logic.nudges, outcome.consumed):
            self.relay.wake()
            self.effects.wake(clock.now())
        if outcome.events:
            self.relay.wake()
        if outcome.earliest_task:
            self.effects.wake(outcome.earliest_task)
            self.deadlines.wake(outcome.earliest_task)

    def _are_deadlines_late(self) -> bool:
        since = self.deadlines.held_back_since
        usual = self._deadline_grace_seconds + LATE_SECONDS
        return since is not None and (clock.now() - since).total_seconds() > usual

    async def _warn_of_unknown_tasks(self) -> None:
        kinds = set(await self.reads.run(all_kinds)) - self.effects.kinds - self.deadlines.kinds
        if kinds:  # a newer release wrote them; they stay in the table
            log.warning("tasks.unknown", kinds=sorted(kinds))

    def _effect_seconds_left(self) -> float:
        stopping_since = self._stopping_since or 0
        return EFFECT_SECONDS - (asyncio.get_running_loop().time() - stopping_since)
