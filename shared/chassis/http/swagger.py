"""Swagger UI at `/schema`, from our own files: it loads nothing from other origins and runs no other script."""

from pathlib import Path
from typing import Any

from litestar import Request, Router
from litestar.datastructures import CacheControlHeader
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.static_files import create_static_files_router

FILES = Path(__file__).parent / "swagger_ui"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class LocalSwagger(OpenAPIRenderPlugin):
    """In place of Litestar's renderer, which loads Swagger UI from a public CDN and has an inline script."""

    def __init__(self) -> None:
        super().__init__(path="/swagger")
        self._page = (FILES / "page.html").read_bytes()

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002 - Litestar's signature
        """The page, which loads the document itself."""
        return self._page


def files() -> Router:
    """The page's script and styles, below `/files`."""
    return create_static_files_router(
        "/files",
        directories=[FILES],
        cache_control=CacheControlHeader(public=True, max_age=3600),
    )
