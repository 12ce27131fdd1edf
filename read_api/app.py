"""The read API, put together."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog
from litestar import Litestar

from read_api import api, divergence, event_archive
from read_api.api.dependencies import ReadApi
from read_api.consistency import Consistency
from read_api.event_stream import Feed, Streams
from read_api.rebuild import derived_tables, migrate_read_database
from read_api.store import CHECKPOINTS, PROJECTIONS
from shared.chassis.engine.projector import Projector
from shared.chassis.engine.rebuild import rebuild_if_needed
from shared.chassis.http import signing_keys
from shared.chassis.http.app import build_app
from shared.chassis.http.auth import PublicKeys
from shared.chassis.http.rate_limits import Limiter
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.consumer import Consumer
from shared.chassis.jetstream.durable import Durable
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import EVERYTHING
from shared.chassis.runtime.loops import Loop
from shared.chassis.storage import database_identity
from shared.chassis.storage.database import (
    database_url,
    open_for_reading,
    open_for_writing,
)
from shared.chassis.storage.reader import Reader
from shared.contracts import CATALOG
from shared.settings import ShopSettings

NAME = "read"
WRITER_STOP_SECONDS = 3

log = structlog.get_logger()


class ReadService:
    """The parts of the service: one consumer, one projector, and the streams of what it applies."""

    def __init__(self, settings: ShopSettings) -> None:
        self._settings = settings
        url = database_url(NAME, settings)
        self._database = open_for_writing(url)
        self._reads = open_for_reading(url)
        self._reader = Reader(url)
        self._broker = JetStreamConnection(NAME, settings)
        self._feed = Feed()
        self._consistency = Consistency()
        self._projector = Projector(
            self._database,
            PROJECTIONS,
            CHECKPOINTS,
            hooks=(event_archive.hook, signing_keys.hook(NAME)),
            on_applied=self._notify,
        )
        self._keys = PublicKeys(self._reads)
        self._consumer: Consumer | None = None
        self._running = AsyncExitStack()

    def app(self) -> Litestar:
        """The HTTP application that starts and stops this service with itself."""
        read_api = ReadApi(
            settings=self._settings,
            reader=self._reader,
            streams=Streams(self._feed, self._reader, self._keys),
            projector=self._projector,
            consistency=self._consistency,
            limits=Limiter(self._settings.rate_limits),
        )
        return build_app(
            "Quadrille: read API",
            [api.router(read_api)],
            dependencies={"read_api": read_api},
            settings=self._settings,
            keys=self._keys,
            waiting_for=self.waiting_for,
            on_startup=[self.start],
            on_stopping=self._close_streams,
            on_shutdown=self.stop,
        )

    def waiting_for(self) -> list[str]:
        """Why queries may be incomplete; empty when the service is ready."""
        if self._consumer is None:
            return ["its database"]
        reasons = [self._consumer.waiting_for] if self._consumer.waiting_for else []
        reasons += [
            f"event {position} of {source}, which later ones wait for"
            for source, position in self._projector.missing.items()
        ]
        projector = self._projector
        return reasons + divergence.reasons(projector.divergences, projector.positions)

    async def start(self) -> None:
        """Open the database and start consuming; the broker need not be up."""
        lock = database_identity.lock(self._database.url)
        self._running.callback(lock.release)
        self._running.push_async_callback(self._reader.close)
        self._running.push_async_callback(self._reads.close)
        self._running.push_async_callback(self._database.close)
        self._running.push_async_callback(self._broker.close)
        database_id = await self._database.run(migrate_read_database)
        await rebuild_if_needed(self._database, derived_tables(self._projector))
        await self._projector.resume()
        streams = StreamManager(self._broker, self._settings)
        durable = Durable(self._broker, NAME, [EVERYTHING], database_id)
        self._consumer = Consumer(
            self._broker, streams, durable, self._projector.deliver, catalog=CATALOG
        )
        for loop in (
            Loop("database", self._database.watch),
            Loop("reads", self._reads.watch),
            Loop("reader", self._reader.watch),
            Loop(
                "writer",
                self._projector.writer.run,
                request_stop=self._projector.writer.stop,
                grace_seconds=lambda: WRITER_STOP_SECONDS,
            ),
            Loop("consumer", self._consumer.run),
        ):
            loop.start()
            self._running.push_async_callback(loop.stop)
        log.info("service.started", database=str(self._database.url))

    async def stop(self) -> None:
        """Stop consuming, finish the batch under way, close."""
        self._close_streams()
        await self._running.aclose()
        log.info("service.stopped")

    def _notify(self, events: Sequence[RecordedEvent]) -> None:
        if signing_keys.concerns(events):
            self._keys.reload()
        self._feed.publish(events)
        self._consistency.notify(self._projector.positions, (event.entity_id for event in events))

    def _close_streams(self) -> None:
        """End streams and waits: no more events will be applied."""
        self._feed.close()
        self._consistency.close()


def build(settings: ShopSettings) -> Litestar:
    """The application; nothing runs before its startup."""
    return ReadService(settings).app()
