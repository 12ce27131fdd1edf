"""Every query over HTTP, and live events; each request may wait for what its caller has done."""

from litestar import Router

from read_api.api import admin, audit, catalogue, me, orders, reports, sagas, streams
from read_api.api.dependencies import ReadApi
from read_api.api.limits import limiting_streams
from read_api.consistency import PARAMETERS, wait_for_consistency


def router(read_api: ReadApi) -> Router:
    """All routes; they need the dependency `read_api`."""
    return Router(
        "/",
        route_handlers=[
            orders.OrderController,
            catalogue.CatalogueController,
            admin.AdminController,
            me.MeController,
            admin.OperatorController,
            reports.DashboardController,
            reports.ReportController,
            audit.show_audit,
            sagas.list_sagas,
            Router(
                "/",
                route_handlers=[streams.stream_order, streams.stream_events],
                middleware=[limiting_streams(read_api.limits)],
                opt=streams.OPT,
            ),
        ],
        before_request=wait_for_consistency(read_api.consistency),
        parameters=PARAMETERS,
    )
