"""Every query of the shop over HTTP, and live events; each waits for what its caller has done."""

from litestar import Router

from read_api.api import admin, catalogue, orders, reports
from read_api.api.dependencies import Parts
from read_api.consistency import PARAMETERS, holding_back


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
        before_request=holding_back(parts.freshness),
        parameters=PARAMETERS,
    )
