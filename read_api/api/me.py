"""What the shop has stored about the signed-in customer."""

from litestar import Controller, get
from litestar.di import NamedDependency

from read_api.api.dependencies import ReadApi
from read_api.queries.export import export
from read_api.schemas import Export
from shared.chassis.http.auth import signed_in_only
from shared.chassis.http.problems import responses
from shared.chassis.http.rate_limits import Limit
from shared.chassis.http.request_body import ServiceRequest


class MeController(Controller):
    """The routes under `/me`."""

    path = "/me"
    guards = (signed_in_only,)
    tags = ("customers",)

    @get("/export", responses=responses("unknown-customer", "too-many-requests"))
    async def export_data(
        self, request: ServiceRequest, read_api: NamedDependency[ReadApi]
    ) -> Export:
        """Export all that is stored about you: account, addresses, cart, orders with shipments and mails, events."""
        user_id = request.customer_id
        read_api.limits.take((Limit.EXPORTS_PER_CUSTOMER, user_id))
        return await export(read_api.reader, request.user, user_id)
