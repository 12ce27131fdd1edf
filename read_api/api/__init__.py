"""Every query of the shop over HTTP, and live events; each waits for what its caller has done."""

from litestar import Router

from read_api.api import admin, catalogue, orders, reports
from read_api.api.dependencies import Parts
from read_api.consistency import PARAMETERS, wait_for_consistency


def router(parts: Parts) -> Router:
    """All routes of this API."""
    return Router(
        "/",
        route_handlers=[
            orders.router(parts),
            catalogue.router(parts),
            admin.router(parts),
            reports.router(parts),
        ],
        before_request=wait_for_consistency(parts.freshness),
        parameters=PARAMETERS,
    )
