"""Parts of a real service for tests: its writer on a real SQLite file, or all of it with a broker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from litestar import Litestar
from sqlalchemy import Connection, MetaData, Table, select

import inventory_service.app
import inventory_service.store
import order_service.app
import order_service.store
import shipping_service.app
import shipping_service.store
from shared.chassis.engine.rebuild import DerivedTables
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.engine.task_runner import TaskHandler
from shared.chassis.engine.unit_of_work import CommandEnvelope, Outcome, process_batch
from shared.chassis.engine.writer import Committed, Writer
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.publisher import Publisher as BatchPublisher
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime.service import Service
from shared.chassis.storage import event_log
from shared.chassis.storage.database import (
    CHASSIS_METADATA,
    Database,
    open_for_reading,
    open_for_writing,
    read_rows,
)
from shared.chassis.storage.event_log import Outgoing
from shared.contracts import CATALOG
from shared.settings import ShopSettings
from tests.support.eventually import eventually

T = TypeVar("T")


class ServiceSpec(NamedTuple):
    """What makes one service differ from another."""

    source: str
    logic: ServiceLogic[Any, Any]
    tables: MetaData
    derived: Callable[[], DerivedTables]


INVENTORY = ServiceSpec(
    "inventory",
    inventory_service.app.LOGIC,
    inventory_service.store.METADATA,
    inventory_service.store.derived_tables,
)
ORDER = ServiceSpec(
    "order",
    order_service.app.logic(ShopSettings()),
    order_service.store.METADATA,
    order_service.store.derived_tables,
)
SHIPPING = ServiceSpec(
    "shipping",
    shipping_service.app.logic(
        shipping_service.app.carriers_of(
            ShopSettings(carrier_min_delay_seconds=0, carrier_max_delay_seconds=0)
        )
    ),
    shipping_service.store.METADATA,
    shipping_service.store.derived_tables,
)


class Chassis:
    """A writer at work on its database, and ways to look."""

    def __init__(
        self,
        path: Path,
        spec: ServiceSpec,
        on_commit: Callable[[Outcome], None] | None = None,
    ) -> None:
        url = f"sqlite:///{path}"
        self.source = spec.source
        self.database = open_for_writing(url)
        self.reads = open_for_reading(url)
        self.announced: list[RecordedEvent] = []
        self.writer = Writer(
            self.database,
            partial(process_batch, source=spec.source, logic=spec.logic),
            on_commit=on_commit or (lambda outcome: self.announced.extend(outcome.events)),
        )

    async def execute(self, command: object) -> Committed:
        return await self.writer.execute(CommandEnvelope(command))

    async def handle(self, *messages: Any) -> None:
        await self.writer.handle(messages)

    async def rows(self, table: Table) -> list[dict[str, Any]]:
        return await rows_of(self.reads, table)

    async def log(self) -> list[RecordedEvent]:
        return await log_of(self.reads, self.source)

    async def event_types(self) -> list[str]:
        return [recorded.event_type for recorded in await self.log()]


@asynccontextmanager
async def writing(path: Path, spec: ServiceSpec = INVENTORY) -> AsyncIterator[Chassis]:
    """A writer that runs; opened again on the same path it is the service restarted."""
    chassis = Chassis(path, spec)
    await chassis.database.run(CHASSIS_METADATA.create_all)
    await chassis.database.run(spec.tables.create_all)
    running = asyncio.create_task(chassis.writer.run())
    try:
        yield chassis
    finally:
        chassis.writer.stop()
        await running
        await chassis.reads.close()
        await chassis.database.close()


@asynccontextmanager
async def serving(
    settings: ShopSettings, spec: ServiceSpec = INVENTORY, handlers: tuple[TaskHandler, ...] = ()
) -> AsyncIterator[Service]:
    """All of a service but its HTTP."""
    service = service_of(settings, spec, handlers)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def service_of(
    settings: ShopSettings, spec: ServiceSpec, handlers: tuple[TaskHandler, ...] = ()
) -> Service:
    return Service(
        spec.source,
        settings,
        spec.logic,
        spec.tables,
        handlers,
        derived=spec.derived,
        catalog=CATALOG,
        deadline_grace_seconds=settings.order_timeout_grace_seconds,
    )


@asynccontextmanager
async def started(app: Litestar) -> AsyncIterator[Litestar]:
    """What `app.lifespan()` does, but enters and leaves in different tasks, as fixtures do."""
    for hook in app.on_startup:
        await hook()
    try:
        yield app
    finally:
        for hook in app.on_shutdown:
            await hook()


@asynccontextmanager
async def publishing(settings: ShopSettings) -> AsyncIterator["Publisher"]:
    """Another client of the broker, which may publish as any service."""
    broker = Publisher("test", settings)
    await broker.connect()

    async def is_provisioned() -> bool:
        try:
            await broker.streams.ensure()
        except BROKER_ERRORS:  # the disk is busy
            return False
        return True

    try:
        await eventually(is_provisioned, within_seconds=30)
        yield broker
    finally:
        await broker.close()


class Publisher(JetStreamConnection):
    """Publishes events that no service's log contains."""

    def __init__(self, name: str, settings: ShopSettings) -> None:
        super().__init__(name, settings)
        self.streams = StreamManager(self, settings)
        self._batches = BatchPublisher(self)

    async def publish(self, events: Sequence[RecordedEvent]) -> dict[int, int]:
        """Position → stream sequence of those acknowledged in time."""
        outgoing = [
            Outgoing(event.position, 0, event.event_id, event.subject, encode(event))
            for event in events
        ]
        return dict((await self._batches.publish(outgoing)).sequences)


async def rows_of(database: Database, table: Table) -> list[dict[str, Any]]:
    def read(connection: Connection) -> list[dict[str, Any]]:
        return read_rows(connection, table, select(table))

    return await database.run(read)


async def log_of(database: Database, source: str) -> list[RecordedEvent]:
    def read(connection: Connection) -> list[RecordedEvent]:
        return list(event_log.read_all(connection, source, CATALOG))

    return await database.run(read)


def pragma(setting: str) -> Callable[[Connection], None]:
    """Side work for a writer that changes how its connection behaves from now on."""

    def work(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA {setting}")

    return work
