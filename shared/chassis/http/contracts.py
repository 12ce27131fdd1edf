"""The published contracts of the events: their AsyncAPI document, and the JSON Schema of each version."""

from typing import Any

from litestar import Controller, Response, get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from shared.chassis.http.problems import responses
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.rejection import Rejected

PATH = "/contracts"
JSON_SCHEMA = "application/schema+json"

Json = dict[str, Any]


class ContractController(Controller):
    """Serves the files that the catalog's package contains."""

    path = PATH
    tags = ("contracts",)
    cache_control = CacheControlHeader(max_age=3600)

    @get(
        "/asyncapi.json",
        operation_id="getAsyncApiDocument",
        summary="AsyncAPI document",
        responses={
            200: ResponseSpec(Json, description="AsyncAPI 3.0"),
            **responses("unknown-contract"),
        },
        sync_to_thread=True,
    )
    def asyncapi(self, catalog: NamedDependency[Catalog]) -> Response[bytes]:
        """Every event of the shop with its subject, and the services that publish and consume it."""
        return _file(catalog, "asyncapi.json", media_type="application/json")

    @get(
        "/events/{event_type:str}/{document:str}",
        operation_id="getEventSchema",
        summary="JSON Schema of an event",
        responses={
            200: ResponseSpec(Json, description="JSON Schema", media_type=JSON_SCHEMA),
            **responses("unknown-contract"),
        },
        sync_to_thread=True,
    )
    def schema(
        self, event_type: FromPath[str], document: FromPath[str], catalog: NamedDependency[Catalog]
    ) -> Response[bytes]:
        """The schema of an event's `data`; `document` is a schema version and `.json`, such as `1.json`.

        An event of `dataschema` `urn:quadrille:event:OrderCreated:1` conforms to `/contracts/events/OrderCreated/1.json`.
        """
        event_class = catalog.event_types.get(event_type)
        versions = range(1, event_class.SCHEMA_VERSION + 1) if event_class else ()
        for version in versions:
            if document == f"{version}.json":
                return _file(catalog, f"schemas/{event_type}.v{version}.json", JSON_SCHEMA)
        raise _unknown(f"{event_type}/{document}")


def _file(catalog: Catalog, name: str, media_type: str) -> Response[bytes]:
    if catalog.documents is None:
        raise _unknown(name)
    try:
        return Response((catalog.documents / name).read_bytes(), media_type=media_type)
    except FileNotFoundError:
        raise _unknown(name) from None


def _unknown(name: str) -> Rejected:
    return Rejected("unknown-contract", f"there is no contract {name!r}")
