"""Shipments over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec
from litestar import Router, get

from shared.contracts import Line
from shared.problem import responses
from shared.refused import Refused
from shared.service import Service
from shipping_service import store
from shipping_service.domain import Status


class ShipmentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order's shipment."""

    order_id: str
    shipment_id: str | None
    status: Status
    items: Sequence[Line]
    shipping_address: dict[str, str] | None
    tracking_number: str | None
    reason: str | None
    created_at: datetime
    updated_at: datetime


def router(service: Service) -> Router:
    """The routes of this API."""

    @get("/{order_id:str}", responses=responses(404))
    async def show_shipment(order_id: str) -> ShipmentView:
        """The shipment of an order."""
        found = await service.reads.run(partial(store.load_shipments, order_ids=[order_id]))
        if order_id not in found:
            raise Refused(
                "unknown-shipment", f"there is no shipment of order {order_id}", status=404
            )
        return msgspec.convert(found[order_id], ShipmentView, from_attributes=True)

    return Router("/shipments", route_handlers=[show_shipment], tags=["shipments"])
