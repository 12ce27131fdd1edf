"""`GET /` of each service: what it is, and where its documents are."""

from collections.abc import Sequence
from html import escape

from litestar import MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from shared import VERSION
from shared.chassis.http.representation import PUBLIC_DATA

PATH = "/"
PAGE_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Document(Struct, frozen=True, kw_only=True):
    """A path of the service, and what is there."""

    path: str
    title: str


class Index(Struct, frozen=True, kw_only=True):
    """A service and its documents."""

    title: str
    description: str
    version: str
    documents: Sequence[Document]


DOCUMENTS = (
    Document(path="/schema", title="the API, to read and to try"),
    Document(path="/schema/openapi.json", title="the API as an OpenAPI document"),
    Document(path="/contracts/asyncapi.json", title="the shop's events as an AsyncAPI document"),
    Document(path="/health/ready", title="whether the service does its work"),
)


def index_of(title: str, description: str) -> Index:
    """The index of the service with this title."""
    return Index(title=title, description=description, version=VERSION, documents=DOCUMENTS)


@get(
    PATH,
    responses={200: ResponseSpec(Index, description="JSON, or HTML for browsers")},
    tags=["health"],
    cache_control=PUBLIC_DATA,
    sync_to_thread=False,
)
def show_index(
    request: Request[object, object, State], index: NamedDependency[Index]
) -> Response[Index | str]:
    """Name the service and its documents."""
    headers = {"Vary": "Accept"}
    if "text/html" not in request.headers.get("Accept", ""):
        return Response(index, headers=headers)
    headers["Content-Security-Policy"] = PAGE_POLICY
    return Response(_page(index), media_type=MediaType.HTML, headers=headers)


def _page(index: Index) -> str:
    links = "".join(
        f'<li><a href="{document.path}">{document.path}</a>: {escape(document.title)}</li>'
        for document in index.documents
    )
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{escape(index.title)}</title>'
        f"<h1>{escape(index.title)}</h1><p>{escape(index.description)}</p><ul>{links}</ul>"
        f"<p>Quadrille {index.version}</p></html>"
    )
