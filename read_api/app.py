"""The read API, put together."""

from collections.abc import Sequence

from litestar import Litestar

from read_api import api, event_archive
from read_api.api.dependencies import ReadApi
from read_api.consistency import Consistency
from read_api.event_stream import Feed, Streams
from read_api.rebuild import derived_tables, migrate_read_database
from read_api.store import CHECKPOINTS, PROJECTIONS
from shared.chassis.engine.projector import Projector
from shared.chassis.engine.rebuild import rebuild_if_needed
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime.projection_service import ProjectionService
from shared.chassis.storage.database import Database
from shared.contracts import CATALOG
from shared.settings import ShopSettings


def build(settings: ShopSettings) -> Litestar:
    """The application; nothing runs before its startup."""
    feed, consistency = Feed(), Consistency()

    def publish(projector: Projector, events: Sequence[RecordedEvent]) -> None:
        feed.publish(events)
        consistency.notify(projector.positions, (event.entity_id for event in events))

    def close_streams() -> None:
        """End streams and waits: no more events will be applied."""
        feed.close()
        consistency.close()

    service = ProjectionService(
        "read",
        settings,
        PROJECTIONS,
        CHECKPOINTS,
        catalog=CATALOG,
        open_database=_open_database,
        record_hooks=(event_archive.hook,),
        on_applied=publish,
    )
    read_api = ReadApi(
        settings=settings,
        reader=service.reader,
        streams=Streams(feed, service.reader, service.keys),
        projector=service.projector,
        consistency=consistency,
        limits=service.limits,
    )
    return service.app(
        "Quadrille: read API",
        [api.router(read_api)],
        dependencies={"read_api": read_api},
        on_stopping=close_streams,
    )


async def _open_database(database: Database, projector: Projector) -> str:
    database_id = await database.run(migrate_read_database)
    await rebuild_if_needed(database, derived_tables(projector))
    return database_id
