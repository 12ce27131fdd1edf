"""The parts of a service that only projects, put together: its consumer, writer and projector."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from litestar import Litestar
from litestar.types import ControllerRouterHandler
from sqlalchemy import MetaData

from shared.chassis.engine.projector import Projection, Projector
from shared.chassis.engine.rebuild import DerivedTables
from shared.chassis.engine.redriver import Redriver
from shared.chassis.engine.retention import RetentionLoop
from shared.chassis.engine.service_logic import RecordHook
from shared.chassis.http import identity
from shared.chassis.http.app import build_app
from shared.chassis.http.contracts import ContractController
from shared.chassis.http.dead_letters import DeadLetterController
from shared.chassis.http.health import Backlog
from shared.chassis.http.openapi import NO_DESCRIPTION, ApiDescription
from shared.chassis.http.rebuild import RebuildController
from shared.chassis.http.redrives import DeadLetters, RedriveController
from shared.chassis.jetstream.backfill import Backfill
from shared.chassis.jetstream.consumer import Consumer
from shared.chassis.jetstream.durable import Durable
from shared.chassis.jetstream.replay_client import ReplayClient
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import EVERYTHING
from shared.chassis.runtime.backlog import backlog_of
from shared.chassis.runtime.loops import Loop, writer_loop
from shared.chassis.runtime.opening import Opening
from shared.chassis.runtime.resources import Resources
from shared.chassis.runtime.retention_rules import COMMON_RULES
from shared.chassis.settings import ChassisSettings
from shared.chassis.storage.checkpoints import Checkpoints

log = structlog.get_logger()


class ProjectionService:
    """Consumes all events, each source's in order, and publishes none."""

    def __init__(
        self,
        name: str,
        settings: ChassisSettings,
        projections: Sequence[Projection[Any]],
        checkpoints: Checkpoints,
        *,
        catalog: Catalog,
        tables: MetaData,
        derived: Callable[[], DerivedTables],
        versions: Path,
        record_hooks: Sequence[RecordHook] = (),
        on_applied: Callable[[Projector, Sequence[RecordedEvent]], None],
    ) -> None:
        """`derived` are the tables that the projector fills, `versions` the directory of the others' migrations.

        `on_applied` is called with applied events when they are durable, and once at the start.
        """
        self._name = name
        self._settings = settings
        self._catalog = catalog
        self._resources = Resources(name, settings)
        self._opening = Opening(
            name, settings, self._resources, tables=tables, derived=derived, versions=versions
        )
        self._notify = on_applied
        self.reader = self._resources.reader
        self.reads = self._resources.reads
        self.keys = self._resources.keys
        self.links = self._resources.links
        self.limits = self._resources.limits
        self.projector = Projector(
            self._resources.database,
            projections,
            checkpoints,
            hooks=(*record_hooks, identity.hook(name)),
            on_applied=self._on_applied,
        )
        self._redriver = Redriver(self._resources.reads, self.projector.writer, self.projector)
        self._replays = ReplayClient(name, self._resources.broker, catalog)
        self._consumer: Consumer | None = None
        self._backfill: Backfill | None = None

    def app(
        self,
        title: str,
        routes: Sequence[ControllerRouterHandler],
        *,
        api: ApiDescription = NO_DESCRIPTION,
        dependencies: Mapping[str, object],
        on_stopping: Callable[[], None],
    ) -> Litestar:
        """The HTTP application, which starts and stops this service."""

        async def stop() -> None:
            on_stopping()
            await self.stop()

        return build_app(
            title,
            [
                *routes,
                DeadLetterController,
                RedriveController,
                RebuildController,
                ContractController,
            ],
            settings=self._settings,
            api=api,
            keys=self.keys,
            links=self.links,
            waiting_for=self.waiting_for,
            backlog=self._backlog_size,
            dependencies={
                "rebuilder": self._opening.rebuilder,
                "catalog": self._catalog,
                "dead_letters": DeadLetters(self.reader, self._redriver),
                **dependencies,
            },
            is_open=lambda: self._opening.is_open,
            on_startup=[self.start],
            on_stopping=on_stopping,
            on_shutdown=stop,
        )

    def waiting_for(self) -> list[str]:
        """Why queries may be incomplete; empty when the service is ready."""
        if self._consumer is None or self._backfill is None or not self._opening.is_open:
            return self._opening.waiting_for()
        reasons = [self._consumer.waiting_for] if self._consumer.waiting_for else []
        return [*reasons, *self._backfill.waiting_for(), *self.projector.waiting_for()]

    async def start(self) -> None:
        """Open the database and start consuming; the broker need not be up."""
        await self._opening.run(self._start_parts)

    async def _start_parts(self, database_id: str) -> None:
        resources, projector = self._resources, self.projector
        await projector.resume()
        durable = Durable(resources.broker, self._name, [EVERYTHING], database_id)
        backfill = self._backfill = Backfill(
            self._catalog.sources, projector, self._replays, resources.streams, durable
        )
        consumer = self._consumer = Consumer(
            resources.broker,
            resources.streams,
            durable,
            projector.deliver,
            catalog=self._catalog,
            before_binding=backfill.before_binding,
        )
        resources.start(
            writer_loop(projector.writer),
            Loop("consumer", consumer.run),
            Loop("backfill", backfill.run),
            Loop("redrives", self._redriver.run),
            Loop("retention", RetentionLoop(projector.writer, COMMON_RULES).run),
        )
        log.info("service.started", database=str(resources.database.url))

    async def stop(self) -> None:
        """Stop consuming, finish the transaction under way, close."""
        self._resources.database.begin_stop()
        await self._opening.stop()
        await self._resources.close()
        log.info("service.stopped")

    async def _backlog_size(self) -> Backlog:
        lag = self._consumer.lag if self._consumer else None
        return await backlog_of(self.reader, lag, is_open=self._opening.is_open)

    def _on_applied(self, events: Sequence[RecordedEvent]) -> None:
        if identity.concerns(events):
            self._resources.reload_identity()
        self._notify(self.projector, events)
