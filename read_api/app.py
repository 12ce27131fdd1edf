"""The read API, put together."""

from collections.abc import Sequence

from litestar import Litestar

from read_api import api, event_archive
from read_api.api.dependencies import ReadApi
from read_api.consistency import Consistency
from read_api.event_stream import Feed, Streams
from read_api.queries.sagas import Board
from read_api.rebuild import VERSIONS, derived_tables
from read_api.store import CHECKPOINTS, PROJECTIONS
from read_api.tables import METADATA
from shared.chassis.engine.projector import Projector
from shared.chassis.http.openapi import ApiDescription
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime.projection_service import ProjectionService
from shared.contracts import CATALOG
from shared.contracts.examples import EXAMPLES
from shared.settings import ShopSettings

API = ApiDescription(
    description="Answers what several services know together: orders with their shipments and mails, reports, live events.",
    port=ShopSettings().read_api_port,
    tags={
        "orders": "Orders with stock, shipment and mails, their timelines, and live events.",
        "catalogue": "Products and their stock.",
        "shipments": "Shipments, newest first: for admins.",
        "customers": "Customers: for admins.",
        "carts": "Customers' carts: for admins.",
        "marketing": "Reports: for admins.",
    },
    examples=EXAMPLES,
)


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
        tables=METADATA,
        derived=derived_tables,
        versions=VERSIONS,
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
        links=service.links,
        board=Board(service.reader, settings),
    )
    return service.app(
        "Quadrille: read API",
        [api.router(read_api)],
        dependencies={"read_api": read_api, "reads": service.reads},
        api=API,
        on_stopping=close_streams,
    )
